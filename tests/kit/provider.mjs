// provider.mjs - the other side: a Twilio-style provider that signs with Twilio's own SDK.
//
// It sends webhooks as Twilio would (and again, when it gets no 2xx), takes what we send, and returns
// receipts. How it behaves towards us is set per test: accept, or the n-th answer lost, late, throttled …
import http from 'node:http'
import { randomBytes } from 'node:crypto'
import twilio from 'twilio'
import { ProviderMedia } from './provider_media.mjs'

export const accountSid = 'ACtest0000000000000000000000000000'
export const newSid = () => `SM${randomBytes(16).toString('hex')}`

export class Provider {
  constructor(house) {
    this.house = house
    this.sent = [] // what reached us: { tenant, sid, params, at, mediaUrls, media: what was read from them }
    this.media = new ProviderMedia()
    this.receipts = ['sent', 'delivered']
    this.behave = null // (send, answer) => true when it answered by itself
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  }

  async start() {
    await this.media.start()
    this.server = http.createServer((request, response) => this.onRequest(request, response))
    await new Promise((resolve) => this.server.listen(this.house.providerPort ?? 0, '127.0.0.1', resolve))
    this.house.providerPort = this.server.address().port
    return this
  }

  async stop() {
    this.agent.destroy()
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
    await this.media.stop()
  }

  async onRequest(request, response) {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const found = /^\/([^/]+)\/2010-04-01\/Accounts\/([^/]+)\/Messages\.json$/.exec(request.url)
    const form = new URLSearchParams(Buffer.concat(chunks).toString())
    const params = Object.fromEntries(form)
    const file = /^\/([^/]+)\/media\//.exec(request.url)
    if (file && request.method === 'GET') return this.media.onApi(request, response, this.authorization(file[1]))
    const answer = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json', ...(status === 429 ? { 'retry-after': '1' } : {}) })
      response.end(JSON.stringify(body))
    }
    if (!found || request.method !== 'POST') return answer(404, { code: 20404, message: 'not found', status: 404 })
    const tenant = found[1]
    if (request.headers.authorization !== this.authorization(tenant)) return answer(401, { code: 20003, message: 'Authenticate', status: 401 })
    const send = { tenant, sid: newSid(), params, mediaUrls: form.getAll('MediaUrl'), media: [], at: Date.now(), response }
    this.sent.push(send)
    const accept = () => {
      answer(201, { sid: send.sid, status: 'queued', num_segments: '1', error_code: null })
      this.sendReceipts(send)
    }
    if (this.behave && this.behave(send, { answer, accept, response })) return undefined
    return accept()
  }

  authorization(tenant) {
    return `Basic ${Buffer.from(`${accountSid}:${this.token(tenant)}`).toString('base64')}`
  }

  token(tenant) {
    return this.house.secretValue(`auth_token_${tenant}`)
  }

  // Files are read after the message was taken; one that cannot be read fails it.
  async sendReceipts(send) {
    for (const url of send.mediaUrls) send.media.push(await this.media.read(url))
    if (send.media.some((media) => media.status !== 200)) {
      await this.status(send, 'failed', { ErrorCode: '63019' }).catch(() => {})
      return
    }
    for (const status of this.receipts) await this.status(send, status).catch(() => {})
  }

  // A status callback, repeated until it is taken.
  async status(send, status, extra = {}) {
    const params = { MessageSid: send.sid, SmsSid: send.sid, MessageStatus: status, SmsStatus: status, To: send.params.To, From: send.params.From ?? '', AccountSid: accountSid, ApiVersion: '2010-04-01', ...extra }
    return this.post(send.params.StatusCallback, params, send.tenant)
  }

  inbound(from, body, extra = {}) {
    const sid = extra.MessageSid ?? newSid()
    return {
      ToCountry: 'FR', ToState: '', SmsMessageSid: sid, NumMedia: '0', ToCity: '', FromZip: '', SmsSid: sid, FromState: '',
      SmsStatus: 'received', FromCity: '', Body: body, FromCountry: 'FR', To: '+33199000000', ToZip: '', NumSegments: '1',
      MessageSid: sid, AccountSid: accountSid, From: from, ApiVersion: '2010-04-01', ...extra
    }
  }

  // An MMS; files are media.add()'s.
  mms(tenant, from, body, files, extra = {}) {
    const params = this.inbound(from, body, { NumMedia: String(files.length), ...extra })
    files.forEach((file, i) => {
      params[`MediaUrl${i}`] = `http://127.0.0.1:${this.house.providerPort}/${tenant}/media/${file.id}`
      params[`MediaContentType${i}`] = file.announced ?? file.type
    })
    return params
  }

  // One delivery attempt of an inbound SMS; the status is the caller's to judge.
  async receive(tenant, params, options = {}) {
    return this.once(`${this.house.url}/hooks/sms/sms-${tenant}`, params, tenant, options)
  }

  // As a provider whose retries never end: until a 2xx, or `tries`.
  async post(url, params, tenant, { tries = 200, onTry } = {}) {
    let last
    for (let i = 0; i < tries; i++) {
      onTry?.(i)
      last = await this.once(url, params, tenant).catch((error) => ({ status: 0, body: error.message }))
      if (last.status >= 200 && last.status < 300) return last
      if (last.status === 403 || last.status === 400) return last
      await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100))
    }
    return last
  }

  once(url, params, tenant, { signature, token, headers = {}, raw } = {}) {
    const body = raw ?? new URLSearchParams(params).toString()
    const sign = signature ?? twilio.getExpectedTwilioSignature(token ?? this.token(tenant), url, params)
    return new Promise((resolve, reject) => {
      const request = http.request(
        url,
        {
          method: 'POST',
          agent: this.agent,
          timeout: 15000,
          headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body), 'x-twilio-signature': sign, ...headers }
        },
        (response) => {
          const chunks = []
          response.on('data', (chunk) => chunks.push(chunk))
          response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }))
          response.on('error', reject)
        }
      )
      request.on('timeout', () => request.destroy(new Error('timeout')))
      request.on('error', reject)
      request.end(body)
    })
  }
}
