// What the API refuses, operation by operation, and that each refusal says what was wrong.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { Api, handshake } from '../kit/api.mjs'
import { adminOnly, openWorld, operations, withStatus } from '../kit/operations.mjs'
import { until } from '../kit/wait.mjs'

let world, house, provider, alice, sue, ada, oscar, end
const none = '018f2f6e-0000-7000-8000-00000000dead'

before(async () => {
  ({ world, house, provider, end } = await openWorld({ settings: { gateway: { body_max_bytes: '16KiB', upload_max_bytes: '16KiB' } } }))
  ;({ alice, sue, ada, oscar } = world.api)
})
after(() => end?.())

const each = async (t, list, run, suffix = '') => {
  for (const operation of list) await t.test(`${operation.id}${suffix}`, () => run(operation))
}
const isProblem = (answer, status, code) => {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.body.status, status)
  if (code) assert.equal(answer.body.code, code, answer.text)
  assert.ok(answer.body.detail.length > 0 && answer.body.title.length > 0)
}
const conversationOps = operations.filter((operation) => operation.template.startsWith('/v1/conversations/{id}'))
const otherOps = operations.filter((operation) => /^\/v1\/(merges|dead-letters)\/\{id\}/.test(operation.template))
const customerOps = operations.filter((operation) => operation.template.startsWith('/v1/customers/{id}'))

test('401 without, with a wrong and with an ended session', async (t) => {
  const ended = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  await ended.call('DELETE', '/sessions/current')
  const sessions = { nobody: new Api(house), wrong: new Api(house, { token: 'A'.repeat(43) }), long: new Api(house, { token: 'A'.repeat(600) }), ended }
  await each(t, withStatus(401).filter((operation) => !operation.isPublic), async (operation) => {
    for (const api of Object.values(sessions)) {
      const answer = await world.call(api, operation)
      isProblem(answer, 401, 'unauthorized')
      assert.match(answer.headers.get('www-authenticate'), /^Bearer/)
    }
  })
  await t.test('a scheme that is not Bearer', async () => {
    const answer = await new Api(house).get('/me', { headers: { authorization: `Basic ${Buffer.from('alice:pass').toString('base64')}` } })
    isProblem(answer, 401)
  })
})

test('401 at login: wrong tenant, login and password look alike', async () => {
  const good = { tenant: 'demo', login: 'sue', password: 'pass-sue-demo' }
  const answers = []
  for (const wrong of [{ tenant: 'nowhere' }, { login: 'nobody' }, { password: 'wrong' }, { tenant: 'other' }]) {
    const answer = await new Api(house).call('POST', '/sessions', { ...good, ...wrong })
    isProblem(answer, 401, 'unauthorized')
    answers.push({ ...answer.body, trace_id: '' })
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0])
})

test('who may do what', async (t) => {
  // Role by operation: what an agent may not, a supervisor or an admin may.
  const refused = { alice: adminOnly, sue: adminOnly, ada: [] }
  for (const operation of operations.filter((one) => !one.isPublic && one.id !== 'deleteCurrentSession')) {
    await t.test(operation.id, async () => {
      for (const [name, list] of Object.entries(refused)) {
        const answer = await world.call(world.api[name], operation)
        if (list.includes(operation.id)) isProblem(answer, 403, 'forbidden')
        else assert.ok(answer.status < 300 || answer.status === 409, `${name}: ${answer.status} ${answer.text}`)
      }
      if (operation.id === 'setPresence') for (const api of [sue, ada]) await api.presence('offline')
    })
  }
  await t.test('an agent gives nothing to others', async () => {
    const view = await world.receive('demo', alice, '+33639982001', 'x')
    const path = `/conversations/${view.conversation.id}`
    isProblem(await alice.call('POST', `${path}/assign`, { agent_id: sue.session.agent.id }), 403, 'forbidden')
    await sue.presence('away')
    assert.equal((await sue.call('POST', `${path}/assign`, { agent_id: sue.session.agent.id })).status, 200)
    // It is sue's now: alice sees it no more.
    isProblem(await alice.get(path), 404, 'not_found')
    isProblem(await alice.call('POST', `${path}/transfer`, { agent_id: alice.session.agent.id }), 404)
    assert.ok(!(await alice.all('/conversations')).some((item) => item.conversation.id === view.conversation.id))
  })
  await t.test('an agent transfers, closes and answers nothing that waits, but may leave a note', async () => {
    await alice.presence('away')
    await provider.receive('demo', provider.inbound('+33639982002', 'x'))
    const item = await until('it waits', async () => (await alice.get('/conversations?state=waiting')).body.items[0])
    isProblem(await alice.call('POST', `/conversations/${item.conversation.id}/transfer`, { queue_id: world.ids.demo.otherQueue }), 403, 'forbidden')
    isProblem(await alice.call('POST', `/conversations/${item.conversation.id}/close`), 403, 'forbidden')
    isProblem(await alice.reply(item.conversation.id, 'pas encore la mienne'), 403, 'forbidden')
    isProblem(await alice.call('POST', `/conversations/${item.conversation.id}/typing`), 403, 'forbidden')
    assert.equal((await alice.call('POST', `/conversations/${item.conversation.id}/notes`, { text: 'à suivre' }, { key: randomUUID() })).status, 201)
    assert.equal((await sue.call('POST', `/conversations/${item.conversation.id}/close`)).status, 200)
    await alice.presence('online')
  })
  await t.test('an agent of one queue does not see what waits in the other', async () => {
    const bill = await Api.login(house, house.agent('bill', { queues: 'billing' }))
    await alice.presence('away')
    await provider.receive('demo', provider.inbound('+33639982003', 'x'))
    const item = await until('it waits', async () => (await alice.get('/conversations?state=waiting')).body.items[0])
    assert.deepEqual(await bill.all('/conversations?state=waiting'), [])
    isProblem(await bill.get(`/conversations/${item.conversation.id}`), 404)
    isProblem(await bill.call('POST', `/conversations/${item.conversation.id}/assign`, { agent_id: bill.session.agent.id }), 404)
    await alice.presence('online')
  })
})

test('403: what a customer who said STOP is not sent', async () => {
  const from = '+33639982010'
  const view = await world.receive('demo', alice, from, 'x')
  await provider.receive('demo', provider.inbound(from, 'STOP', { OptOutType: 'STOP' }))
  const answer = await until('refused', async () => {
    const tried = await alice.reply(view.conversation.id, 'encore')
    return tried.status !== 202 && tried
  })
  isProblem(answer, 403, 'forbidden')
  isProblem(await alice.call('POST', '/conversations', { account_id: 'sms-demo', recipient: { kind: 'phone', value: from }, text: 'x' }, { key: randomUUID() }), 403, 'forbidden')
  assert.equal((await alice.call('POST', `/conversations/${view.conversation.id}/notes`, { text: 'il ne veut plus' }, { key: randomUUID() })).status, 201)
})

test('another tenant’s ids are 404, like ids that are none', async (t) => {
  const foreign = world.ids.other
  for (const [what, ids] of [['of another tenant', { conversation: foreign.conversation, customer: foreign.customer, merge: foreign.merge, deadLetter: foreign.deadLetter }],
    ['unknown', { conversation: none, customer: none, merge: none, deadLetter: none }], ['no id', { conversation: 'x', customer: '42', merge: 'x', deadLetter: 'x' }]])
    await each(t, [...conversationOps, ...customerOps, ...otherOps], async (operation) => {
      for (const api of adminOnly.includes(operation.id) ? [ada] : [alice, sue, ada]) isProblem(await world.call(api, operation, { ids }), 404, 'not_found')
    }, `, ${what}`)
})

test('ids of another tenant inside a body are unknown too', async () => {
  const { demo, other } = world.ids
  const path = `/conversations/${demo.conversation}`
  isProblem(await sue.call('POST', `${path}/assign`, { agent_id: other.agent }), 404)
  isProblem(await sue.call('POST', `${path}/transfer`, { agent_id: other.agent }), 404)
  isProblem(await sue.call('POST', `${path}/transfer`, { queue_id: other.queue }), 404)
  isProblem(await sue.call('PUT', `${path}/read`, { message_id: other.message }), 404)
  isProblem(await alice.reply(demo.conversation, 'x', { thread_id: other.thread }), 404)
  isProblem(await alice.call('POST', '/conversations', { account_id: other.account, recipient: { kind: 'phone', value: '+33639982099' }, text: 'x' }, { key: randomUUID() }), 404)
  assert.deepEqual((await alice.get(`/conversations?queue_id=${other.queue}`)).body.items, [])
  assert.ok(!(await ada.all('/agents')).some((agent) => agent.id === other.agent))
  assert.ok(!(await alice.all('/accounts')).some((account) => account.id === other.account))
})

test('409: what the state does not allow', async () => {
  const view = await world.receive('demo', alice, '+33639982020', 'x')
  const path = `/conversations/${view.conversation.id}`
  const note = randomUUID()
  assert.equal((await alice.call('POST', `${path}/notes`, { text: 'a' }, { key: note })).status, 201)
  isProblem(await alice.call('POST', `${path}/notes`, { text: 'b' }, { key: note }), 409, 'conflict')
  assert.equal((await alice.call('POST', `${path}/close`)).status, 200)
  isProblem(await alice.reply(view.conversation.id, 'trop tard'), 409, 'conflict')
  isProblem(await alice.call('POST', `${path}/assign`, { agent_id: alice.session.agent.id }), 409, 'conflict')
  isProblem(await sue.call('POST', `${path}/transfer`, { queue_id: world.ids.demo.otherQueue }), 409, 'conflict')
  const start = (text) => alice.call('POST', '/conversations', { account_id: 'sms-demo', recipient: { kind: 'phone', value: '+33639982021' }, text }, { key: 'start' })
  assert.equal((await start('a')).status, 202)
  isProblem(await start('b'), 409, 'conflict')
})

test('409: people, conversations and channels that do not go together', async () => {
  const [one, two, three] = [await world.receive('demo', alice, '+33639982022', 'x'), await world.receive('demo', alice, '+33639982023', 'x'), await world.receive('demo', alice, '+33639982025', 'x')]
  isProblem(await alice.call('POST', `/conversations/${one.conversation.id}/join`, { other_id: two.conversation.id }), 409, 'conflict')
  const merge = (other) => alice.call('POST', `/customers/${one.conversation.customer_id}/merges`, { other_customer_id: other.conversation.customer_id }, { key: 'merge' })
  assert.equal((await merge(two)).status, 201)
  isProblem(await merge(three), 409, 'conflict')
  const capabilities = 'UPDATE routing.channel_account SET capabilities = '
  await house.sql(`${capabilities} capabilities || '\\x4800'`)
  isProblem(await alice.call('POST', `/conversations/${one.conversation.id}/typing`), 409, 'conflict')
  await house.sql(`${capabilities} capabilities || '\\x4801'`)
})

test('409: a dead letter whose message is on its way after all', async () => {
  const view = await world.receive('demo', alice, '+33639982024', 'x')
  provider.behave = (send, { answer }) => { answer(400, { code: 21211, message: 'Invalid To', status: 400 }); return true }
  assert.equal((await alice.reply(view.conversation.id, 'nulle part')).status, 202)
  const letter = await until('it is a dead letter', async () => (await ada.get('/dead-letters?kind=delivery')).body.items[0])
  provider.behave = null
  await house.sql('UPDATE routing.delivery SET state = 4 WHERE id::text = $1', [letter.subject])
  isProblem(await ada.call('POST', `/dead-letters/${letter.id}/replay`), 409, 'conflict')
  assert.equal((await ada.call('POST', `/dead-letters/${letter.id}/drop`)).status, 200)
})

test('412 and 428: tags', async (t) => {
  await each(t, withStatus(412), async (operation) => {
    isProblem(await world.call(sue, operation, { headers: { 'if-match': '"w99-c99"' } }), 412, 'precondition_failed')
  }, ', another tag')
  await each(t, withStatus(428), async (operation) => {
    const { method, pathname, body } = world.valid(operation)
    isProblem(await alice.call(method, pathname, body), 428, 'precondition_required')
  }, ', none at all')
  await each(t, withStatus(412), async (operation) => {
    for (const tag of ['w1-c1', '"a", "b"', '"', 'W/', ''])
      assert.ok([400, 428].includes((await world.call(alice, operation, { headers: { 'if-match': tag } })).status), tag)
  }, ', no tag')
})

test('413: a body over the limit, told before it is read', async (t) => {
  await each(t, withStatus(413), async (operation) => {
    isProblem(await world.call(world.may(operation), operation, { raw: JSON.stringify({ text: 'x'.repeat(20000) }) }), 413, 'too_large')
  })
})

test('415: a body that is not application/json', async (t) => {
  await each(t, withStatus(415), async (operation) => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx'])
      isProblem(await world.call(world.may(operation), operation, { headers: { 'content-type': type } }), 415, 'unsupported_media_type')
    const answer = await world.call(adminOnly.includes(operation.id) ? ada : sue, operation, { headers: { 'content-type': 'Application/JSON; charset=utf-8' } })
    assert.notEqual(answer.status, 415)
  })
})

test('malformed JSON is refused at its offset', async (t) => {
  const faults = [['', 0], ['{', 1], ['{"text":"a",}', 12], ['{"text":tru}', 8], ['{"text":"a"} x', 13], ['{"text":"a', 10], ['{"text":"\\u12"}', 13]]
  await each(t, operations.filter((operation) => operation.hasBody), async (operation) => {
    for (const [raw, offset] of faults) {
      const answer = await world.call(world.may(operation), operation, { raw, headers: { 'content-type': 'application/json' } })
      isProblem(answer, 400, 'invalid_json')
      const said = /byte (\d+)/.exec(answer.body.detail)
      assert.ok(said, answer.body.detail)
      assert.ok(Math.abs(Number(said[1]) - offset) <= 3, `${raw}: ${answer.body.detail}`)
    }
    for (const raw of ['[]', '"text"', 'null', '1']) isProblem(await world.call(world.may(operation), operation, { raw }), 400)
    const deep = await world.call(world.may(operation), operation, { raw: `${'{"a":'.repeat(500)}1${'}'.repeat(500)}` })
    isProblem(deep, 400)
  })
})

test('unknown, wrong and missing members are named by their pointer', async (t) => {
  await each(t, operations.filter((operation) => operation.hasBody), async (operation) => {
    const api = world.may(operation)
    const { body } = world.valid(operation)
    const refused = async (changed, code, pointer) => {
      const answer = await world.call(api, operation, { body: changed })
      isProblem(answer, 400, code)
      assert.equal(answer.body.errors[0].pointer, pointer)
    }
    await refused({ ...body, 'a/b~c': 1 }, 'unknown_member', '/a~1b~0c')
    const schema = operation.operation.requestBody.content['application/json'].schema
    for (const name of schema.required ?? []) {
      const { [name]: gone, ...rest } = body
      assert.notEqual(gone, undefined)
      await refused(rest, 'missing_member', `/${name}`)
      await refused({ ...body, [name]: null }, 'missing_member', `/${name}`)
    }
    for (const [name, { type, format, maxLength, enum: words }] of Object.entries(schema.properties)) {
      if (type !== 'object') await refused({ ...body, [name]: { a: 1 } }, 'invalid_member', `/${name}`)
      if (format === 'uuid') await refused({ ...body, [name]: 'not-a-uuid' }, 'invalid_member', `/${name}`)
      if (maxLength && maxLength < 10000) await refused({ ...body, [name]: 'x'.repeat(maxLength + 1) }, 'invalid_member', `/${name}`)
      if (words) await refused({ ...body, [name]: 'nonsense' }, 'invalid_member', `/${name}`)
    }
  })
  await t.test('a recipient’s members too', async () => {
    const start = (recipient) => alice.call('POST', '/conversations', { account_id: 'sms-demo', recipient, text: 'x' }, { key: randomUUID() })
    for (const [recipient, pointer] of [[{ kind: 'phone', value: '+33639982030', colour: 'red' }, '/recipient/colour'], [{ kind: 'phone' }, '/recipient/value'], [{ kind: 'pigeon', value: 'x' }, '/recipient/kind']])
      assert.equal((await start(recipient)).body.errors[0].pointer, pointer)
  })
  await t.test('a transfer to a queue and an agent at once', async () => {
    const { queue, agent, conversation } = world.ids.demo
    isProblem(await alice.call('POST', `/conversations/${conversation}/transfer`, { queue_id: queue, agent_id: agent }), 400)
    isProblem(await alice.call('POST', `/conversations/${conversation}/transfer`, {}), 400)
  })
})

test('400: wrong keys, parameters and cursors', async (t) => {
  await each(t, operations.filter((operation) => operation.isKeyed), async (operation) => {
    const { method, pathname, body } = world.valid(operation)
    isProblem(await alice.call(method, pathname, body), 400, 'idempotency_key_missing')
    for (const key of ['x'.repeat(129), 'with space', 'é']) {
      const answer = await alice.call(method, pathname, body, { headers: { 'idempotency-key': Buffer.from(key).toString('latin1') } })
      isProblem(answer, 400, 'idempotency_key_invalid')
    }
  })
  const lists = operations.filter((operation) => operation.method === 'GET' && operation.statuses.includes(400) && operation.id !== 'openEvents')
  await each(t, lists, async (operation) => {
    const { pathname } = world.valid(operation)
    const at = (query) => `${pathname}${pathname.includes('?') ? '&' : '?'}${query}`
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'limit=-1', 'limit=1.5', 'limit=', 'cursor=nonsense', 'cursor=', 'colour=red', 'limit=%ZZ', 'cursor=%00'])
      isProblem(await (world.may(operation) === ada ? ada : sue).get(at(query)), 400, 'invalid_parameter')
  })
  for (const query of ['state=lost', 'mine=yes', 'queue_id=x']) isProblem(await alice.get(`/conversations?${query}`), 400, 'invalid_parameter')
  for (const query of ['', 'identity_kind=phone', 'identity_value=x', 'identity_kind=pigeon&identity_value=x', 'name=a&identity_kind=phone&identity_value=x', 'name='])
    isProblem(await alice.get(`/customers?${query}`), 400, 'invalid_parameter')
})

test('a body in the wrong form is refused for presence, agents and logins by the same rules', async () => {
  isProblem(await ada.call('POST', '/agents', { login: 'new', role: 'agent' }), 400)
  isProblem(await ada.call('POST', '/agents', { login: 'new', role: 'agent', password: 'short' }), 400, 'invalid_member')
  for (const capacity of [0, 1001, 1.5, '5']) isProblem(await ada.call('POST', '/agents', { login: 'put', role: 'agent', capacity }), 400, 'invalid_member')
})

test('no path, no method', async () => {
  for (const path of ['/nothing', '/me/', '/conversations/', '//me', '/conversations/x/y']) isProblem(await alice.get(path), 404)
  const answer = await alice.call('DELETE', '/me')
  isProblem(answer, 405, 'method_not_allowed')
  assert.equal(answer.headers.get('allow'), 'GET')
  const allow = (await alice.call('PUT', '/agents', {})).headers.get('allow')
  assert.deepEqual(allow.split(', ').sort(), ['GET', 'POST'])
})

test('a problem carries our trace id, taken from the request’s traceparent', async () => {
  const trace = randomUUID().replaceAll('-', '')
  const answer = await alice.get(`/conversations/${none}`, { headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } })
  assert.equal(answer.body.trace_id, trace)
  assert.deepEqual(Object.keys(answer.body).sort(), ['code', 'detail', 'status', 'title', 'trace_id', 'type'])
  const other = await alice.get(`/conversations/${none}`, { headers: { traceparent: 'nonsense' } })
  assert.match(other.body.trace_id, /^[0-9a-f]{32}$/)
  assert.notEqual((await alice.get(`/conversations/${none}`)).body.trace_id, other.body.trace_id)
})

test('CORS: allowed origins get their headers, others none; a preflight needs no session', async () => {
  const headersOf = (answer) => Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith('access-control-')))
  for (const origin of ['https://desk.example.com', 'http://localhost:5173', 'http://localhost']) {
    const preflight = await fetch(`${house.url}/v1/conversations`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type,idempotency-key,if-match' }
    })
    assert.equal(preflight.status, 204)
    const headers = headersOf(preflight)
    assert.equal(headers['access-control-allow-origin'], origin)
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) assert.ok(headers['access-control-allow-methods'].includes(method))
    for (const name of ['authorization', 'content-type', 'idempotency-key', 'if-match']) assert.ok(headers['access-control-allow-headers'].includes(name))
    const answer = await alice.get('/me', { headers: { origin } })
    assert.equal(answer.headers.get('access-control-allow-origin'), origin)
    assert.match(answer.headers.get('vary'), /Origin/i)
    assert.match(answer.headers.get('access-control-expose-headers'), /ETag/)
    const refused = await new Api(house).get('/me', { headers: { origin } })
    assert.equal(refused.headers.get('access-control-allow-origin'), origin, 'a page may read why it was refused')
  }
  for (const origin of ['https://evil.example.com', 'https://desk.example.com.evil.org', 'http://localhost.evil.org', 'null', 'http://localhost:5173.evil.org', 'https://desk.example.com:444']) {
    assert.deepEqual(headersOf(await alice.get('/me', { headers: { origin } })), {}, origin)
    isProblem(await handshake(house, { ticket: await alice.ticket() }, { origin }), 403, 'forbidden')
  }
})

test('the WebSocket’s handshake: 400, 401, 403, 426 as documented, and a ticket is good once', async () => {
  const ticket = await alice.ticket()
  isProblem(await handshake(house, { ticket }, { 'sec-websocket-version': '8' }), 426, 'upgrade_required')
  isProblem(await handshake(house, { ticket }, { upgrade: undefined, connection: undefined }), 426, 'upgrade_required')
  isProblem(await handshake(house, { ticket }, { 'sec-websocket-protocol': undefined }), 400)
  isProblem(await handshake(house, { ticket }, { 'sec-websocket-protocol': 'other.v1' }), 400)
  isProblem(await handshake(house, { ticket }, { 'sec-websocket-key': 'short' }), 400)
  for (const cursor of ['nonsense', 'ZTE6', Buffer.from('e1:x:-1').toString('base64url'), Buffer.from('p1:x:1').toString('base64url')])
    isProblem(await handshake(house, { ticket: await alice.ticket(), cursor }), 400)
  isProblem(await handshake(house), 401, 'unauthorized')
  isProblem(await handshake(house, { ticket: `${(await alice.ticket()).slice(0, -4)}AAAA` }), 401)
  const good = await alice.ticket()
  assert.equal((await handshake(house, { ticket: good })).status, 101)
  isProblem(await handshake(house, { ticket: good }), 401, 'unauthorized')
})
