// operations.mjs - one valid request of each operation of openapi.yaml, for tests that go through all of them.
//
// Only admins may do these.
export const adminOnly = ['putAgent', 'listDeadLetters', 'getDeadLetter', 'replayDeadLetter', 'dropDeadLetter', 'getAudit']

// A World is a house with a supervisor, an agent and an admin of tenant demo, an admin of tenant other, and a
// conversation each: what the requests below name.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Api, download, handshake, openapi } from './api.mjs'
import { House } from './house.mjs'
import { Provider } from './provider.mjs'
import { until } from './wait.mjs'

// [method, path, body, headers], given the ids of a tenant (see World.ids). `key`: an Idempotency-Key goes with it.
const requests = {
  createSession: (ids) => ['POST', '/sessions', { tenant: ids.tenant, login: ids.login, password: ids.password }],
  deleteCurrentSession: () => ['DELETE', '/sessions/current'],
  getMe: () => ['GET', '/me'],
  setPresence: () => ['PUT', '/me/presence', { presence: 'online' }],
  listAgents: () => ['GET', '/agents'],
  putAgent: () => ['POST', '/agents', { login: 'put', role: 'agent', password: 'at least eight', queues: ['support'] }],
  listQueues: () => ['GET', '/queues'],
  listAccounts: () => ['GET', '/accounts'],
  listConversations: () => ['GET', '/conversations'],
  startConversation: (ids) => ['POST', '/conversations', { account_id: ids.account, recipient: { kind: 'phone', value: ids.recipient }, text: 'Bonjour' }],
  getConversation: (ids) => ['GET', `/conversations/${ids.conversation}`],
  listMessages: (ids) => ['GET', `/conversations/${ids.conversation}/messages`],
  sendMessage: (ids) => ['POST', `/conversations/${ids.conversation}/messages`, { text: 'Réponse' }],
  markRead: (ids) => ['PUT', `/conversations/${ids.conversation}/read`, { message_id: ids.message }],
  addNote: (ids) => ['POST', `/conversations/${ids.conversation}/notes`, { text: 'Note' }],
  assignConversation: (ids) => ['POST', `/conversations/${ids.conversation}/assign`, { agent_id: ids.agent }],
  transferConversation: (ids) => ['POST', `/conversations/${ids.conversation}/transfer`, { queue_id: ids.queue, reason: 'essai' }],
  closeConversation: (ids) => ['POST', `/conversations/${ids.conversation}/close`],
  reopenConversation: (ids) => ['POST', `/conversations/${ids.conversation}/reopen`],
  findCustomers: () => ['GET', '/customers?identity_kind=phone&identity_value=%2B33639980000'],
  getCustomer: (ids) => ['GET', `/customers/${ids.customer}`],
  updateCustomer: (ids) => ['PATCH', `/customers/${ids.customer}`, { display_name: 'Marie' }, { 'if-match': '*' }],
  getTimeline: (ids) => ['GET', `/customers/${ids.customer}/timeline`],
  joinConversations: (ids) => ['POST', `/conversations/${ids.conversation}/join`, { other_id: ids.otherConversation }],
  setTyping: (ids) => ['POST', `/conversations/${ids.conversation}/typing`],
  mergeCustomers: (ids) => ['POST', `/customers/${ids.customer}/merges`, { other_customer_id: ids.otherCustomer, evidence: 'says so' }],
  unmergeCustomers: (ids) => ['DELETE', `/merges/${ids.merge}`],
  uploadMedia: () => ['POST', '/media?file_name=photo.png', Buffer.from('not really a photo'), { 'content-type': 'image/png' }],
  downloadMedia: (ids) => ['GET', ids.link],
  listDeadLetters: () => ['GET', '/dead-letters'],
  getDeadLetter: (ids) => ['GET', `/dead-letters/${ids.deadLetter}`],
  replayDeadLetter: (ids) => ['POST', `/dead-letters/${ids.deadLetter}/replay`],
  dropDeadLetter: (ids) => ['POST', `/dead-letters/${ids.deadLetter}/drop`],
  getAudit: () => ['GET', '/audit'],
  createEventTicket: () => ['POST', '/events/ticket'],
  getOpenapi: () => ['GET', '/openapi.yaml'],
  getEventSchemas: () => ['GET', '/event-schemas.json'],
  openEvents: () => ['GET', '/events']
}

// All operations of the contract: { id, method, template, operation, statuses, isPublic, isKeyed, hasBody }.
export const operations = Object.entries(openapi.paths).flatMap(([template, item]) =>
  Object.entries(item).map(([method, operation]) => ({
    id: operation.operationId,
    method: method.toUpperCase(),
    template,
    operation,
    statuses: Object.keys(operation.responses).map(Number),
    isPublic: Array.isArray(operation.security) && operation.security.length === 0,
    isKeyed: (operation.parameters ?? []).some((parameter) => parameter.$ref === '#/components/parameters/Idempotency-Key'),
    hasBody: operation.requestBody?.content['application/json'] !== undefined
  }))
)
assert.deepEqual(operations.map((each) => each.id).sort(), Object.keys(requests).sort(), 'a request for each operation')
export const withStatus = (status) => operations.filter((each) => each.statuses.includes(status))

export class World {
  constructor(house, provider) {
    Object.assign(this, { house, provider, ids: {}, api: {} })
  }

  async build() {
    for (const [login, role] of [['alice', 'agent'], ['sue', 'supervisor'], ['ada', 'admin']])
      this.api[login] = await Api.login(this.house, this.house.agent(login, { role, capacity: 50 }))
    // No channel of ours shows typing yet: the account says that it can, in its announced capabilities (field 9).
    await this.house.sql("UPDATE routing.channel_account SET capabilities = capabilities || '\\x4801'")
    this.api.oscar = await Api.login(this.house, this.house.agent('oscar', { tenant: 'other', role: 'admin', capacity: 50 }))
    assert.equal((await this.api.alice.presence('online')).status, 200)
    assert.equal((await this.api.oscar.presence('online')).status, 200)
    await this.fill('demo', this.api.alice, { login: 'alice', password: 'pass-alice-demo' })
    await this.fill('other', this.api.oscar, { login: 'oscar', password: 'pass-oscar-other' })
    return this
  }

  // A customer of the tenant writes; what comes of it gives the ids.
  async fill(tenant, api, login, from = '+33639980000') {
    const view = await this.receive(tenant, api, from, 'Bonjour')
    const messages = await api.all(`/conversations/${view.conversation.id}/messages`)
    const queues = await api.all('/queues')
    this.ids[tenant] = {
      tenant, ...login,
      account: `sms-${tenant}`,
      recipient: '+33639980099',
      agent: api.session.agent.id,
      queue: queues.find((queue) => queue.name === 'support').id,
      otherQueue: queues.find((queue) => queue.name === 'billing').id,
      conversation: view.conversation.id,
      customer: view.conversation.customer_id,
      message: messages[0].id,
      thread: view.conversation.threads[0].id
    }
    await this.fillMore(tenant, api, this.ids[tenant])
  }

  // Another customer who is the same person, a file, and a text that came twice with different words.
  async fillMore(tenant, api, ids) {
    const other = await this.receive(tenant, api, '+33639980001', 'Encore moi')
    const merged = await api.call('POST', `/customers/${ids.customer}/merges`, { other_customer_id: other.conversation.customer_id }, { key: randomUUID() })
    assert.equal(merged.status, 201, merged.text)
    const uploaded = await api.upload(Buffer.from('a file'), 'text/plain', 'a file.txt')
    assert.equal(uploaded.status, 201, uploaded.text)
    const text = this.provider.inbound('+33639980002', 'un')
    assert.equal((await this.provider.receive(tenant, text)).status, 200)
    assert.equal((await this.provider.receive(tenant, { ...text, Body: 'deux' })).status, 200)
    const admin = tenant === 'demo' ? this.api.ada : api
    const letter = await until('the dead letter is there', async () => (await admin.get('/dead-letters')).body.items[0])
    Object.assign(ids, {
      otherConversation: other.conversation.id, otherCustomer: other.conversation.customer_id, merge: merged.body.merge.id,
      link: uploaded.body.link_url, deadLetter: letter.id
    })
  }

  // A text comes in; the view of its conversation once somebody has it.
  async receive(tenant, api, from, text) {
    const answer = await this.provider.receive(tenant, this.provider.inbound(from, text))
    assert.equal(answer.status, 200, answer.body)
    return until(`${from} is assigned`, async () => {
      const found = await api.get(`/customers?identity_kind=phone&identity_value=${encodeURIComponent(from)}`)
      for (const item of (await api.get('/conversations?state=assigned&limit=100')).body.items)
        if (item.conversation.customer_id === found.body.items[0]?.id) return (await api.get(`/conversations/${item.conversation.id}`)).body
      return undefined
    })
  }

  // The request of an operation, sent by `api`. more: tenant (whose ids), ids, body, headers, raw, key, path.
  call(api, operation, { tenant = 'demo', ids, body, headers = {}, raw, key, path } = {}) {
    const [method, pathname, valid, itsHeaders = {}] = requests[operation.id]({ ...this.ids[tenant], ...ids })
    if (operation.id === 'openEvents') return handshake(this.house, { ticket: 'none', ...(ids?.ticket ? { ticket: ids.ticket } : {}) }, headers)
    if (operation.id === 'downloadMedia') return download(pathname, { headers })
    if (Buffer.isBuffer(valid)) raw ??= valid
    return api.call(method, path ?? pathname, raw === undefined ? body ?? valid : undefined, {
      headers: { ...itsHeaders, ...headers },
      key: key ?? (operation.isKeyed ? randomUUID() : undefined),
      raw
    })
  }

  valid(operation, tenant = 'demo') {
    const [method, pathname, body, headers] = requests[operation.id](this.ids[tenant])
    return { method, pathname, body, headers }
  }

  // Whoever may do it.
  may(operation) { return adminOnly.includes(operation.id) ? this.api.ada : this.api.alice }
}

// A house and its world; ended by end().
export async function openWorld(options) {
  const house = new House(options)
  const provider = await new Provider(house).start()
  const end = async () => {
    await provider.stop()
    await house.stop()
  }
  try {
    await house.start()
    return { house, provider, world: await new World(house, provider).build(), end }
  } catch (error) {
    await end().catch(() => {})
    throw error
  }
}
