// s3 - an S3-compatible store for tests: path style, PUT, GET with Range, DELETE; keeps objects in memory.
// It believes nobody: the signature (SigV4) is calculated anew, by another's code, from the request as it came,
// and the body must have the hash that was signed. Everything that is refused is listed in `refused`.
import http from 'node:http'
import { createHash } from 'node:crypto'
import aws4 from 'aws4'

const xml = (code) => `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${code}</Message></Error>`

export class S3 {
  constructor({ bucket = 'media', region = 'eu-west-3', accessKey = 'AKTEST', secretKey = 'a secret of forty characters, or so it is' } = {}) {
    Object.assign(this, { bucket, region, accessKey, secretKey })
    this.objects = new Map()
    this.refused = []
    this.requests = []
    this.failing = [] // statuses, or 'cut': for the next requests, one each
  }

  async start(port = 0) {
    this.server = http.createServer((request, response) => this.handle(request, response).catch((error) => {
      response.statusCode = 500
      response.end(String(error))
    }))
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve))
    this.port = this.server.address().port
    this.endpoint = `http://127.0.0.1:${this.port}`
    return this
  }

  async stop() {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  // The code of an error, or nothing when it is signed by who knows the secret.
  judge(request) {
    const { authorization = '', host } = request.headers
    const found = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(authorization)
    if (!found) return 'AccessDenied'
    const [, key, day, region, signed, signature] = found
    const date = request.headers['x-amz-date'] ?? ''
    if (key !== this.accessKey) return 'InvalidAccessKeyId'
    if (region !== this.region || !date.startsWith(day)) return 'AuthorizationHeaderMalformed'
    const at = Date.parse(date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
    if (!(Math.abs(Date.now() - at) < 900000)) return 'RequestTimeTooSkewed'
    const names = signed.split(';')
    for (const name of ['host', 'x-amz-content-sha256', 'x-amz-date']) if (!names.includes(name)) return 'AccessDenied'
    if (names.some((name) => request.headers[name] === undefined)) return 'SignatureDoesNotMatch'
    const headers = Object.fromEntries(names.map((name) => [name, request.headers[name]]))
    const own = aws4.sign(
      { service: 's3', region, method: request.method, host, path: request.url, headers, extraHeadersToIgnore: {}, extraHeadersToInclude: Object.fromEntries(names.map((name) => [name, true])) },
      { accessKeyId: key, secretAccessKey: this.secretKey }
    )
    return own.headers.Authorization.endsWith(`Signature=${signature}`) ? undefined : 'SignatureDoesNotMatch'
  }

  refuse(response, status, code) {
    this.refused.push(code)
    response.statusCode = status
    response.setHeader('content-type', 'application/xml')
    response.end(xml(code))
  }

  async handle(request, response) {
    this.requests.push(`${request.method} ${request.url}`)
    const fault = this.failing.shift()
    if (fault === 'cut') return request.socket.destroy()
    const code = this.judge(request)
    if (code) return this.refuse(response, 403, code)
    if (fault) return this.refuse(response, fault, 'InternalError')
    const [, bucket, ...path] = request.url.split('/')
    const key = path.join('/')
    if (bucket !== this.bucket) return this.refuse(response, 404, 'NoSuchBucket')
    if (request.method === 'PUT') return this.put(key, request, response)
    if (request.method === 'GET') return this.get(key, request, response)
    if (request.method !== 'DELETE') return this.refuse(response, 405, 'MethodNotAllowed')
    this.objects.delete(key)
    response.statusCode = 204
    response.end()
  }

  async put(key, request, response) {
    const pieces = []
    const hash = createHash('sha256')
    for await (const piece of request) {
      pieces.push(piece)
      hash.update(piece)
    }
    if (request.headers['content-length'] === undefined) return this.refuse(response, 411, 'MissingContentLength')
    if (hash.digest('hex') !== request.headers['x-amz-content-sha256']) return this.refuse(response, 400, 'XAmzContentSHA256Mismatch')
    this.objects.set(key, Buffer.concat(pieces))
    response.end()
  }

  get(key, request, response) {
    const bytes = this.objects.get(key)
    if (!bytes) return this.refuse(response, 404, 'NoSuchKey')
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    if (!range) return response.end(bytes)
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)]
    if (from > to) return this.refuse(response, 416, 'InvalidRange')
    response.statusCode = 206
    response.setHeader('content-range', `bytes ${from}-${to}/${bytes.length}`)
    response.end(bytes.subarray(from, to + 1))
  }
}
