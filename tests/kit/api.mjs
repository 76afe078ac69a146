// api.mjs - the agents' API as a foreign frontend uses it: every answer is held against openapi.yaml,
// every live event against its JSON Schema, and what was exercised is written down for the coverage test.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { randomBytes, randomUUID } from 'node:crypto'
import Ajv from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import WebSocket from 'ws'
import YAML from 'yaml'
import { top } from './house.mjs'
import { until } from './wait.mjs'

const embedded = path.join(top, 'services/gateway/embed')
export const openapi = YAML.parse(fs.readFileSync(path.join(embedded, 'openapi.yaml'), 'utf8'))
const ajv = new Ajv({ strict: false, allErrors: true })
addFormats(ajv)
ajv.addSchema({ $id: 'openapi', ...openapi })

const pointer = (...parts) => `openapi#/${parts.map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`

const escape = (text) => text.replace(/[.*+?^$()|[\]\\]/g, '\\$&')
const patterns = Object.keys(openapi.paths).map((template) => [template, new RegExp(`^${escape(template).replace(/\{[^}]+\}/g, '[^/]+')}$`)])

function operationOf(method, pathname) {
  for (const [template, pattern] of patterns) {
    const operation = pattern.test(pathname) && openapi.paths[template][method.toLowerCase()]
    if (operation) return { template, operation }
  }
  return undefined
}

const follow = (value) => (value?.$ref ? value.$ref.replace(/^#\//, '').split('/').reduce((at, key) => at[key], openapi) : value)

function note(template, method, status) {
  const file = process.env.GUICHET_API_COVERAGE
  if (file) fs.appendFileSync(file, `${method.toUpperCase()} ${template} ${status}\n`)
}

// The headers an answer is documented with; `headers` is a Headers, or a plain object with names in lower case.
function checkHeaders(where, response, headers) {
  for (const [name, reference] of Object.entries(response.headers ?? {})) {
    const header = follow(reference)
    const value = headers.get ? headers.get(name) : headers[name.toLowerCase()]
    if (value === null || value === undefined) {
      if (header.required) throw new Error(`${where}: header ${name} is missing`)
      continue
    }
    const validate = ajv.compile(header.schema)
    if (!validate(header.schema.type === 'integer' ? Number(value) : value)) throw new Error(`${where}: header ${name}: ${value}: ${ajv.errorsText(validate.errors)}`)
  }
}

// Throws unless the contract knows this answer, to the last field.
export function check(method, pathname, status, headers, text) {
  const found = operationOf(method, pathname)
  if (!found) {
    if (status === 404 || status === 405) return
    throw new Error(`${method} ${pathname}: not in openapi.yaml, answered ${status}`)
  }
  const { template, operation } = found
  const reference = operation.responses[status]
  const where = `${method} ${template} ${status}`
  if (!reference) throw new Error(`${where}: is not documented: ${text}`)
  const response = follow(reference)
  const base = reference.$ref ? reference.$ref.replace(/^#\//, '').split('/') : ['paths', template, method.toLowerCase(), 'responses', status]
  note(template, method, status)
  checkHeaders(where, response, headers)
  if (!response.content) {
    if (text) throw new Error(`${where}: a body where none is documented: ${text}`)
    return
  }
  const contentType = (headers.get ? headers.get('content-type') : headers['content-type']) ?? ''
  const type = contentType.split(';')[0]
  if (response.content['*/*'] && status < 300) return
  if (!response.content[type]) throw new Error(`${where}: content type ${type} is not documented`)
  if (!type.endsWith('json')) return
  const schema = pointer(...base, 'content', type, 'schema')
  const validate = ajv.getSchema(schema) ?? ajv.compile({ $ref: schema })
  const value = JSON.parse(text)
  if (!validate(value)) throw new Error(`${where}: ${ajv.errorsText(validate.errors)}\n${text}`)
  if (status >= 400 && (value.status !== Number(status) || value.type !== `urn:guichet:problem:${value.code}`))
    throw new Error(`${where}: a problem that contradicts itself: ${text}`)
}

export class Api {
  constructor(house, session) {
    this.house = house
    this.session = session
  }

  static async login(house, { tenant, login, password }) {
    const api = new Api(house)
    const answer = await api.call('POST', '/sessions', { tenant, login, password })
    if (answer.status !== 201) throw new Error(`login of ${login}: ${answer.status} ${answer.text}`)
    api.session = answer.body
    return api
  }

  async call(method, pathname, body, { headers = {}, key, raw } = {}) {
    const url = new URL(`${this.house.url}/v1${pathname}`)
    const response = await fetch(url, {
      method,
      headers: {
        ...(body !== undefined || raw !== undefined ? { 'content-type': 'application/json' } : {}),
        ...(this.session ? { authorization: `Bearer ${this.session.token}` } : {}),
        ...(key ? { 'idempotency-key': key } : {}),
        ...headers
      },
      body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
      signal: AbortSignal.timeout(20000)
    })
    const text = await response.text()
    const type = response.headers.get('content-type') ?? ''
    // What nginx says by itself while a service is away is not ours.
    if (!(response.status >= 502 && type.startsWith('text/html'))) check(method, url.pathname, response.status, response.headers, text)
    return { status: response.status, headers: response.headers, text, body: type.split(';')[0].endsWith('json') ? JSON.parse(text) : undefined }
  }

  upload(bytes, contentType, fileName = '') {
    return this.call('POST', `/media?file_name=${encodeURIComponent(fileName)}`, undefined, { raw: bytes, headers: { 'content-type': contentType } })
  }

  get(pathname, options) { return this.call('GET', pathname, undefined, options) }
  presence(presence) { return this.call('PUT', '/me/presence', { presence }) }
  reply(conversation, text, { key = randomUUID(), ...more } = {}) {
    return this.call('POST', `/conversations/${conversation}/messages`, { text, ...more }, { key })
  }

  // All pages of a list.
  async all(pathname) {
    const items = []
    let cursor = null
    do {
      const answer = await this.get(`${pathname}${pathname.includes('?') ? '&' : '?'}limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
      if (answer.status !== 200) throw new Error(`GET ${pathname}: ${answer.status} ${answer.text}`)
      items.push(...answer.body.items)
      cursor = answer.body.next_cursor
    } while (cursor)
    return items
  }

  events(options) { return new Events(this, options) }

  async ticket() {
    const answer = await this.call('POST', '/events/ticket')
    if (answer.status !== 201) throw new Error(`ticket: ${answer.status} ${answer.text}`)
    return answer.body.ticket
  }
}

// A file by its link, as a browser would: { status, headers, bytes, text }.
export async function download(link, { method = 'GET', headers = {} } = {}) {
  const response = await fetch(link, { method, headers, signal: AbortSignal.timeout(60000) })
  const bytes = Buffer.from(await response.arrayBuffer())
  const isProblem = (response.headers.get('content-type') ?? '').startsWith('application/problem')
  const text = isProblem ? bytes.toString() : ''
  check('GET', new URL(link).pathname, response.status, response.headers, text)
  return { status: response.status, headers: response.headers, bytes, text, body: isProblem ? JSON.parse(text) : undefined }
}

// GET /v1/events by hand: what a WebSocket client hears that does not get its 101. `headers` replace the handshake's.
export function handshake(house, params = {}, headers = {}, { onSocket } = {}) {
  const all = {
    connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64'),
    'sec-websocket-protocol': 'guichet.v1.json', ...headers
  }
  for (const name of Object.keys(all)) if (all[name] === undefined) delete all[name]
  return new Promise((resolve, reject) => {
    const request = http.get(`${house.url}/v1/events?${new URLSearchParams(params)}`, { headers: all, agent: false, timeout: 15000 })
    const answer = (response, text) => {
      try {
        check('GET', '/v1/events', response.statusCode, response.headers, text)
        resolve({ status: response.statusCode, headers: response.headers, text, body: text ? JSON.parse(text) : undefined })
      } catch (error) {
        reject(error)
      }
    }
    request.on('upgrade', (response, socket) => {
      socket.on('error', () => {})
      if (onSocket) onSocket(socket)
      else socket.destroy()
      answer(response, '')
    })
    request.on('response', async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      answer(response, text)
    })
    request.on('timeout', () => request.destroy(new Error('no answer to the handshake')))
    request.on('error', reject)
  })
}

const eventSchemas = JSON.parse(fs.readFileSync(path.join(embedded, 'event-schemas.json'), 'utf8'))
ajv.addSchema(eventSchemas)

// What is wrong with a frame, by the schema of its type; undefined: nothing.
export function frameFault(frame) {
  const names = frame.type === 'event' ? [frame.event?.type, 'event_frame'] : [frame.type]
  for (const name of names) {
    const validate = eventSchemas.$defs[name] && ajv.getSchema(`${eventSchemas.$id}#/$defs/${name}`)
    if (!validate) return `no schema of ${name}: ${JSON.stringify(frame)}`
    const value = name === names[0] && frame.type === 'event' ? frame.event : frame
    if (!validate(value)) return `${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`
  }
  return undefined
}

// A live socket that resumes by itself, as a good frontend does; with `isOnce` it stays away once it is closed.
export class Events {
  constructor(api, { cursor, isOnce = false } = {}) {
    Object.assign(this, { api, cursor, isOnce })
    this.events = []
    this.frames = []
    this.resyncs = 0
    this.connects = 0
    this.problems = []
    this.run()
  }

  async run() {
    while (!this.isClosed) {
      try {
        await this.connect(await this.api.ticket())
      } catch (error) {
        this.lastError = error
      }
      if (this.isOnce && this.closeCode !== undefined) return
      if (!this.isClosed) await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  connect(ticket) {
    return new Promise((resolve) => {
      const query = new URLSearchParams({ ticket, ...(this.cursor ? { cursor: this.cursor } : {}) })
      const socket = new WebSocket(`${this.api.house.url.replace(/^http/, 'ws')}/v1/events?${query}`, ['guichet.v1.json'])
      this.socket = socket
      socket.on('upgrade', (response) => check('GET', '/v1/events', response.statusCode, response.headers, ''))
      socket.on('message', (data) => this.onFrame(JSON.parse(data)))
      socket.on('error', (error) => { this.lastError = error })
      socket.on('close', (code, reason) => {
        Object.assign(this, { closeCode: code, closeReason: String(reason), isOpen: false })
        resolve()
      })
    })
  }

  onFrame(frame) {
    const fault = frameFault(frame)
    if (fault) this.problems.push(fault)
    this.frames.push(frame)
    if (frame.cursor) this.cursor = frame.cursor
    if (frame.type === 'hello') {
      this.isOpen = true
      this.connects++
    } else if (frame.type === 'event') this.events.push(frame.event)
    else if (frame.type === 'resync_required') this.resyncs++
  }

  open() { return until('live socket open', () => this.isOpen) }
  of(type) { return this.events.filter((event) => event.type === type) }
  wait(what, match, options) { return until(what, () => this.events.find(match), options) }
  frame(type) { return until(`frame ${type}`, () => this.frames.find((frame) => frame.type === type)) }
  send(text) { this.socket.send(text) }

  async close() {
    this.isClosed = true
    this.socket?.terminate()
    if (this.problems.length > 0) throw new Error(`frames against their schema: ${this.problems.slice(0, 3).join('\n')}`)
  }
}
