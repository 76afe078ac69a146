// api.mjs - the agents' API as a foreign frontend uses it: every answer is held against openapi.yaml,
// every live event against its JSON Schema, and what was exercised is written down for the coverage test.
import fs from 'node:fs'
import path from 'node:path'
import { randomUUID } from 'node:crypto'
import Ajv from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import WebSocket from 'ws'
import YAML from 'yaml'
import { top } from './house.mjs'
import { until } from './wait.mjs'

const source = [path.join(top, 'services/gateway/openapi.yaml'), path.join(top, 'services/gateway/embed/openapi.yaml')].find((file) => fs.existsSync(file))
export const openapi = YAML.parse(fs.readFileSync(source, 'utf8'))
const ajv = new Ajv({ strict: false, allErrors: true })
addFormats(ajv)
ajv.addSchema({ $id: 'openapi', ...openapi })

const pointer = (...parts) => `openapi#/${parts.map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`

function operationOf(method, pathname) {
  for (const [template, item] of Object.entries(openapi.paths)) {
    const pattern = new RegExp(`^${template.replace(/\{[^}]+\}/g, '[^/]+')}$`)
    if (pattern.test(pathname.replace(/^\/v1/, '')) || pattern.test(pathname)) {
      const operation = item[method.toLowerCase()]
      if (operation) return { template, operation }
    }
  }
  return undefined
}

function note(template, method, status) {
  const file = process.env.GUICHET_API_COVERAGE
  if (file) fs.appendFileSync(file, `${method.toUpperCase()} ${template} ${status}\n`)
}

// Throws unless the contract knows this answer, to the last field.
export function check(method, pathname, status, contentType, text) {
  const found = operationOf(method, pathname)
  if (!found) {
    if (status === 404 || status === 405) return
    throw new Error(`${method} ${pathname}: not in openapi.yaml, answered ${status}`)
  }
  const { template, operation } = found
  let response = operation.responses[status]
  if (!response) throw new Error(`${method} ${template}: status ${status} is not documented: ${text}`)
  const where = ['paths', template, method.toLowerCase(), 'responses', status]
  let base = where
  if (response.$ref) {
    base = response.$ref.replace(/^#\//, '').split('/')
    response = base.reduce((at, key) => at[key], openapi)
  }
  note(template, method, status)
  if (!response.content) {
    if (text) throw new Error(`${method} ${template} ${status}: a body where none is documented: ${text}`)
    return
  }
  const type = contentType.split(';')[0]
  const media = response.content[type]
  if (!media) throw new Error(`${method} ${template} ${status}: content type ${type} is not documented`)
  if (!type.endsWith('json')) return
  const validate = ajv.getSchema(pointer(...base, 'content', type, 'schema')) ?? ajv.compile({ $ref: pointer(...base, 'content', type, 'schema') })
  const value = JSON.parse(text)
  if (!validate(value)) throw new Error(`${method} ${template} ${status}: ${ajv.errorsText(validate.errors)}\n${text}`)
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
    if (!(response.status >= 502 && type.startsWith('text/html'))) check(method, url.pathname, response.status, type, text)
    return { status: response.status, headers: response.headers, text, body: type.split(';')[0].endsWith('json') ? JSON.parse(text) : undefined }
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
}

// A live socket that resumes by itself, as a good frontend does.
export class Events {
  constructor(api, { cursor } = {}) {
    this.api = api
    this.cursor = cursor
    this.events = []
    this.resyncs = 0
    this.connects = 0
    this.problems = []
    this.run()
  }

  async run() {
    while (!this.isClosed) {
      try {
        const ticket = await this.api.call('POST', '/events/ticket')
        if (ticket.status !== 201) throw new Error(`ticket: ${ticket.status}`)
        await this.connect(ticket.body.ticket)
      } catch (error) {
        this.lastError = error
      }
      if (!this.isClosed) await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  connect(ticket) {
    return new Promise((resolve) => {
      const query = new URLSearchParams({ ticket, ...(this.cursor ? { cursor: this.cursor } : {}) })
      const socket = new WebSocket(`${this.api.house.url.replace(/^http/, 'ws')}/v1/events?${query}`, ['guichet.v1.json'])
      this.socket = socket
      socket.on('message', (data) => this.onFrame(JSON.parse(data)))
      socket.on('error', (error) => { this.lastError = error })
      socket.on('close', (code) => {
        this.closeCode = code
        this.isOpen = false
        resolve()
      })
    })
  }

  onFrame(frame) {
    if (frame.cursor) this.cursor = frame.cursor
    if (frame.type === 'hello') {
      this.isOpen = true
      this.connects++
    } else if (frame.type === 'event') {
      const finding = validateEvent(frame.event)
      if (finding) this.problems.push(finding)
      this.events.push(frame.event)
    } else if (frame.type === 'resync_required') this.resyncs++
  }

  open() { return until('live socket open', () => this.isOpen) }
  of(type) { return this.events.filter((event) => event.type === type) }
  wait(what, match, options) { return until(what, () => this.events.find(match), options) }

  async close() {
    this.isClosed = true
    this.socket?.terminate()
    if (this.problems.length > 0) throw new Error(`events against their schema: ${this.problems.slice(0, 3).join('\n')}`)
  }
}

let eventSchema
function validateEvent(event) {
  if (!eventSchema) {
    const file = [path.join(top, 'services/gateway/events.schema.json'), path.join(top, 'services/gateway/embed/events.schema.json')].find((name) => fs.existsSync(name))
    eventSchema = ajv.compile(JSON.parse(fs.readFileSync(file, 'utf8')))
  }
  return eventSchema(event) ? undefined : `${JSON.stringify(event)}: ${ajv.errorsText(eventSchema.errors)}`
}
