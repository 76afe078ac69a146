// provider_media.mjs - the provider's files: those of customers, at URLs that want the account's credentials and
// redirect to a store on another port that wants none; and those we send, which it reads from our links.
import http from 'node:http'
import { createHash, randomUUID } from 'node:crypto'

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

export class ProviderMedia {
  constructor() {
    this.files = new Map()
    this.requests = [] // { id, store: whether at the store, authorization }
    this.stalled = new Set()
  }

  async start() {
    this.store = http.createServer((request, response) => this.onStore(request, response))
    await new Promise((resolve) => this.store.listen(0, '127.0.0.1', resolve))
    this.storeUrl = `http://127.0.0.1:${this.store.address().port}/store`
  }

  async stop() {
    this.store.closeAllConnections()
    await new Promise((resolve) => this.store.close(resolve))
  }

  // A file that a customer sends. fault: gone, refused, broken, cut, stall, slow, type, inward, round; for the first
  // `times` requests, or always.
  add(bytes, type, { fault, times = Infinity, name } = {}) {
    const file = { id: `ME${randomUUID().replaceAll('-', '')}`, bytes, type, fault, times, name, sha256: sha256(bytes) }
    this.files.set(file.id, file)
    return file
  }

  find(url) {
    const file = this.files.get(/\/(ME\w+)/.exec(url)?.[1])
    if (!file) return {}
    const fault = file.times > 0 ? file.fault : undefined
    return { file, fault }
  }

  // At the provider's own host: <base>/<tenant>/media/<id>.
  onApi(request, response, expected) {
    const { file, fault } = this.find(request.url)
    this.requests.push({ id: file?.id, store: false, authorization: request.headers.authorization })
    const status = !file || fault === 'gone' ? 404 : fault === 'broken' ? 503 : fault === 'refused' || request.headers.authorization !== expected ? 401 : 307
    if (file && status !== 307) file.times--
    const location = fault === 'inward' ? 'http://169.254.169.254/latest/meta-data/' : fault === 'round' ? request.url : `${this.storeUrl}/${file?.id}`
    if (fault === 'inward') file.times--
    response.writeHead(status, status === 307 ? { location } : { 'content-type': 'application/json' })
    response.end(status === 307 ? '' : '{"code":20404}')
  }

  onStore(request, response) {
    const { file, fault } = this.find(request.url)
    this.requests.push({ id: file?.id, store: true, authorization: request.headers.authorization })
    if (!file || request.headers.authorization) {
      response.writeHead(400)
      return response.end('the store wants no credentials')
    }
    file.times--
    response.writeHead(200, {
      'content-type': fault === 'type' ? 'application/x-msdownload' : file.type,
      'content-length': file.bytes.length,
      ...(file.name ? { 'content-disposition': `inline; filename="${file.name}"` } : {})
    })
    if (fault === 'cut' || fault === 'stall') {
      response.write(file.bytes.subarray(0, file.bytes.length / 2))
      if (fault === 'cut') setTimeout(() => response.destroy(), 50)
      return undefined
    }
    if (fault === 'slow') return this.trickle(response, file.bytes)
    return response.end(file.bytes)
  }

  async trickle(response, bytes) {
    for (let at = 0; at < bytes.length && !response.destroyed; at += 65536) {
      response.write(bytes.subarray(at, at + 65536))
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    response.end()
  }

  // As Twilio reads what it is to send.
  async read(url) {
    try {
      const answer = await fetch(url)
      const bytes = Buffer.from(await answer.arrayBuffer())
      return { url, status: answer.status, type: answer.headers.get('content-type'), size: bytes.length, sha256: sha256(bytes) }
    } catch (error) {
      return { url, status: 0, error: error.message }
    }
  }
}
