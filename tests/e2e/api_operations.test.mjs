// Each operation done as it is meant to be: its good answers, tags, keys, and lists that give each item once.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { Api, openapi } from '../kit/api.mjs'
import { openWorld, operations } from '../kit/operations.mjs'
import { until } from '../kit/wait.mjs'

let world, house, alice, sue, ada, oscar, end
const number = (n) => `+3363997${String(n).padStart(4, '0')}`

before(async () => {
  ({ world, house, end } = await openWorld({}))
  ;({ alice, sue, ada, oscar } = world.api)
})
after(() => end?.())

const made = (id) => `/conversations/${id}`
const receive = (n, text = 'Bonjour') => world.receive('demo', alice, number(n), text)

test('each operation answers a valid request with a documented success', async (t) => {
  for (const operation of operations) {
    await t.test(operation.id, async () => {
      const api = operation.id === 'deleteCurrentSession' ? await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' }) : world.may(operation)
      const ids = operation.id === 'openEvents' ? { ticket: await alice.ticket() } : {}
      const answer = await world.call(api, operation, { ids })
      assert.ok(answer.status < 300, `${answer.status} ${answer.text}`)
      assert.equal(answer.headers.get?.('x-content-type-options') ?? 'nosniff', 'nosniff')
      if (operation.id !== 'downloadMedia') assert.equal(answer.headers.get?.('cache-control') ?? 'no-store', 'no-store')
    })
  }
})

test('an agent is made once and changed after; the password is kept when left out', async () => {
  const put = (more) => ada.call('POST', '/agents', { login: 'paul', role: 'agent', ...more })
  const first = await put({ password: 'premier secret', capacity: 3, queues: ['support'] })
  assert.equal(first.status, 201)
  assert.equal(first.body.capacity, 3)
  assert.deepEqual(first.body.queue_ids, [world.ids.demo.queue])
  const second = await put({ display_name: 'Paul Petit', capacity: 4 })
  assert.equal(second.status, 200)
  assert.equal(second.body.id, first.body.id)
  assert.equal(second.body.display_name, 'Paul Petit')
  const paul = await Api.login(house, { tenant: 'demo', login: 'paul', password: 'premier secret' })
  assert.equal((await paul.get('/me')).body.capacity, 4)
  await put({ password: 'second secret' })
  await until('sessions of the old password end', async () => (await paul.get('/me')).status === 401)
  await Api.login(house, { tenant: 'demo', login: 'paul', password: 'second secret' })
  const unknown = await put({ queues: ['nowhere'] })
  assert.equal(unknown.status, 400)
  assert.equal(unknown.body.errors[0].pointer, '/queues')
})

test('logging out ends the session, and only this one', async () => {
  const one = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  const two = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  assert.equal((await one.call('DELETE', '/sessions/current')).status, 204)
  assert.equal((await one.get('/me')).status, 401)
  assert.equal((await two.get('/me')).status, 200)
  assert.equal((await alice.get('/me')).status, 200)
})

test('presence: away takes nothing new, online takes what waits, one message moves it', async () => {
  const away = await alice.presence('away')
  assert.equal(away.body.presence, 'away')
  await world.provider.receive('demo', world.provider.inbound(number(10), 'personne ?'))
  const waiting = await until('it waits', async () => (await alice.get('/conversations?state=waiting')).body.items[0])
  assert.equal(waiting.work.agent_id, '')
  assert.match(waiting.work.reason, /\S/)
  assert.equal((await alice.get('/queues')).body.items.find((queue) => queue.name === 'support').waiting_count, 1)
  assert.equal((await alice.presence('online')).body.presence, 'online')
  const view = await until('it is hers', async () => {
    const answer = await alice.get(made(waiting.conversation.id))
    return answer.body.work.state === 'assigned' && answer.body
  })
  assert.equal(view.work.agent_id, alice.session.agent.id)
})

test('accounts and queues say what there is', async () => {
  const accounts = (await alice.get('/accounts')).body
  assert.equal(accounts.next_cursor, null)
  assert.deepEqual(accounts.items.map((account) => [account.id, account.channel, account.is_connected]), [['sms-demo', 'sms', true]])
  assert.equal(accounts.items[0].queue_id, world.ids.demo.queue)
  assert.deepEqual((await alice.get('/queues')).body.items.map((queue) => queue.name).sort(), ['billing', 'support'])
})

test('closing, closing again, reopening, reopening again: the state is told, and the tag moves only with it', async () => {
  const view = await receive(20)
  const path = made(view.conversation.id)
  const closed = await alice.call('POST', `${path}/close`)
  assert.equal(closed.status, 200)
  assert.equal(closed.body.conversation.state, 'closed')
  assert.equal(closed.body.work.state, 'closed')
  const again = await alice.call('POST', `${path}/close`)
  assert.equal(again.status, 200)
  assert.equal(again.headers.get('etag'), closed.headers.get('etag'))
  assert.equal((await alice.get(path)).headers.get('etag'), closed.headers.get('etag'))
  const opened = await alice.call('POST', `${path}/reopen`)
  assert.equal(opened.body.conversation.state, 'open')
  assert.notEqual(opened.headers.get('etag'), closed.headers.get('etag'))
  const twice = await alice.call('POST', `${path}/reopen`)
  assert.equal(twice.status, 200)
  assert.equal(twice.body.conversation.state, 'open')
})

test('If-Match: the tag read before lets it through once; then 412; a weak or foreign tag never', async () => {
  const view = await receive(21)
  const path = made(view.conversation.id)
  const tag = (await alice.get(path)).headers.get('etag')
  const act = (what, ifMatch, body) => alice.call('POST', `${path}/${what}`, body, { headers: { 'if-match': ifMatch } })
  assert.equal((await act('close', '"w999-c999"')).status, 412)
  assert.equal((await act('close', `W/${tag}`)).status, 412)
  assert.equal((await alice.get(path)).body.conversation.state, 'open')
  assert.equal((await act('close', tag)).status, 200)
  assert.equal((await act('reopen', tag)).status, 412)
  assert.equal((await act('reopen', '*')).status, 200)
  for (const what of ['close', 'reopen']) assert.equal((await act(what, 'no tag')).body.code, 'invalid_parameter')
  const stale = await act('transfer', tag, { queue_id: world.ids.demo.otherQueue })
  assert.equal(stale.status, 412)
  assert.equal(stale.body.code, 'precondition_failed')
  assert.equal((await act('assign', tag, { agent_id: alice.session.agent.id })).status, 412)
})

test('two who act on the same tag at once: one of them hears 412', async () => {
  const view = await receive(22)
  const path = made(view.conversation.id)
  const tag = (await sue.get(path)).headers.get('etag')
  const transfer = (api) => api.call('POST', `${path}/transfer`, { queue_id: world.ids.demo.otherQueue }, { headers: { 'if-match': tag } })
  const statuses = (await Promise.all([transfer(sue), transfer(ada)])).map((answer) => answer.status)
  assert.deepEqual(statuses.sort(), [200, 412])
})

test('a customer’s name changes with the tag, once', async () => {
  const view = await receive(23)
  const path = `/customers/${view.conversation.customer_id}`
  const read = await alice.get(path)
  const tag = read.headers.get('etag')
  const rename = (name, ifMatch) => alice.call('PATCH', path, { display_name: name }, { headers: ifMatch ? { 'if-match': ifMatch } : {} })
  assert.equal((await rename('Personne')).status, 428)
  assert.equal((await rename('Personne', `W/${tag}`)).status, 412)
  const renamed = await rename('Jeanne d’Arc', tag)
  assert.equal(renamed.status, 200)
  assert.equal(renamed.body.display_name, 'Jeanne d’Arc')
  assert.notEqual(renamed.headers.get('etag'), tag)
  assert.equal((await rename('Trop tard', tag)).status, 412)
  assert.equal((await rename('Personne', '"autre"')).status, 412)
  assert.equal((await alice.get(`/customers?name=${encodeURIComponent('Jeanne')}`)).body.items[0].id, view.conversation.customer_id)
})

test('a key: the same body again is the same answer, another body is 409, another agent’s key is another key', async () => {
  const view = await receive(24)
  const path = made(view.conversation.id)
  for (const [what, body, other] of [
    [`${path}/messages`, { text: 'une fois' }, { text: 'autre chose' }],
    [`${path}/notes`, { text: 'une note' }, { text: 'autre note' }],
    ['/conversations', { account_id: 'sms-demo', recipient: { kind: 'phone', value: number(25) }, text: 'd’abord' }, { account_id: 'sms-demo', recipient: { kind: 'phone', value: number(25) }, text: 'ensuite' }]
  ]) {
    const key = randomUUID()
    const first = await alice.call('POST', what, body, { key })
    assert.ok([201, 202].includes(first.status), first.text)
    assert.equal(first.headers.get('idempotency-replayed'), null)
    const again = await alice.call('POST', what, body, { key })
    assert.equal(again.status, first.status)
    assert.equal(again.headers.get('idempotency-replayed'), 'true')
    const id = (answer) => (answer.body.message ?? answer.body).id
    assert.equal(id(again), id(first))
    const clash = await alice.call('POST', what, other, { key })
    assert.equal(clash.status, 409)
    assert.equal(clash.body.code, 'conflict')
    const hers = await sue.call('POST', what, body, { key })
    assert.notEqual(id(hers), id(first))
  }
  const twelve = await Promise.all(Array.from({ length: 12 }, () => alice.call('POST', `${path}/messages`, { text: 'douze fois' }, { key: 'douze' })))
  assert.deepEqual([...new Set(twelve.map((answer) => answer.status))], [202])
  assert.equal(new Set(twelve.map((answer) => answer.body.message.id)).size, 1)
  const sent = (await alice.all(`${path}/messages`)).filter((message) => message.content.parts[0].text.text === 'douze fois')
  assert.equal(sent.length, 1)
  await until('it went out once', () => world.provider.sent.filter((send) => send.params.Body === 'douze fois').length === 1)
})

test('the same key on another conversation is another body: 409', async () => {
  const [one, two] = [await receive(26), await receive(27)]
  const key = randomUUID()
  assert.equal((await alice.reply(one.conversation.id, 'pareil', { key })).status, 202)
  const clash = await alice.reply(two.conversation.id, 'pareil', { key })
  assert.equal(clash.status, 409)
})

test('an answer goes to the thread that is named, and to none of another conversation', async () => {
  const [one, two] = [await receive(28), await receive(29)]
  const named = await alice.reply(one.conversation.id, 'là', { thread_id: one.conversation.threads[0].id })
  assert.equal(named.status, 202)
  assert.equal(named.body.message.thread_id, one.conversation.threads[0].id)
  assert.equal((await alice.reply(one.conversation.id, 'ici', { thread_id: two.conversation.threads[0].id })).status, 404)
})

test('a text the channel cannot carry is refused before it is stored', async () => {
  const view = await receive(30)
  const before = (await alice.all(`${made(view.conversation.id)}/messages`)).length
  const long = await alice.reply(view.conversation.id, 'x'.repeat(1601))
  assert.equal(long.status, 400)
  assert.equal((await alice.reply(view.conversation.id, 'é'.repeat(1600))).status, 202)
  assert.equal((await alice.all(`${made(view.conversation.id)}/messages`)).length, before + 1)
})

test('read marks count down, and never go back', async () => {
  const view = await receive(31, 'un')
  const path = made(view.conversation.id)
  for (const text of ['deux', 'trois']) await world.provider.receive('demo', world.provider.inbound(number(31), text))
  const messages = await until('three', async () => {
    const items = await alice.all(`${path}/messages`)
    return items.length === 3 && items
  })
  assert.deepEqual(messages.map((message) => message.sequence), [3, 2, 1])
  assert.equal((await alice.get(path)).body.conversation.unread_count, 3)
  const mark = async (message) => (await alice.call('PUT', `${path}/read`, { message_id: message.id })).body.unread_count
  assert.equal(await mark(messages[1]), 1)
  assert.equal(await mark(messages[2]), 1)
  assert.equal(await mark(messages[0]), 0)
  assert.equal((await sue.get(path)).body.conversation.unread_count, 3)
})

test('every list, one item at a time, gives each item once; its cursor fits no other list', async () => {
  const view = await receive(32, 'a')
  const path = made(view.conversation.id)
  for (const text of ['b', 'c']) await world.provider.receive('demo', world.provider.inbound(number(32), text))
  for (const text of ['d', 'e']) await alice.reply(view.conversation.id, text)
  await until('all there', async () => (await alice.all(`${path}/messages`)).length === 5)
  for (let n = 40; n < 43; n++) {
    const { conversation } = await receive(n)
    await alice.call('PATCH', `/customers/${conversation.customer_id}`, { display_name: `Liste ${n}` }, { headers: { 'if-match': '*' } })
  }
  assert.equal((await sue.presence('offline')).status, 200)
  const lists = [
    ['/agents', (item) => item.id],
    ['/conversations', (item) => item.conversation.id],
    ['/conversations?state=assigned', (item) => item.conversation.id],
    ['/conversations?mine=true', (item) => item.conversation.id],
    ['/conversations?state=closed', (item) => item.conversation.id],
    [`${path}/messages`, (item) => item.id],
    [`/customers/${view.conversation.customer_id}/timeline`, (item) => item.id],
    ['/customers?name=Liste', (item) => item.id]
  ]
  let last
  for (const [list, idOf] of lists) {
    const whole = (await alice.all(list)).map(idOf)
    const seen = []
    let cursor = null
    do {
      const answer = await alice.get(`${list}${list.includes('?') ? '&' : '?'}limit=1${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
      assert.equal(answer.status, 200, answer.text)
      assert.ok(answer.body.items.length <= 1)
      seen.push(...answer.body.items.map(idOf))
      cursor = answer.body.next_cursor
      if (cursor && last && last.list !== list) {
        const foreign = await alice.get(`${list}${list.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(last.cursor)}`)
        assert.equal(foreign.status, 400, `${list} took the cursor of ${last.list}`)
      }
      if (cursor) last = { list, cursor }
    } while (cursor)
    assert.deepEqual(seen, whole, list)
    assert.equal(new Set(seen).size, seen.length, list)
    if (!/closed/.test(list)) assert.ok(seen.length > 1, `${list} has ${seen.length}`)
  }
})

test('lists grow while they are read: what was there before comes once', async () => {
  const before = (await alice.all('/conversations?state=assigned')).map((item) => item.conversation.id)
  const seen = []
  let cursor = null
  let n = 50
  do {
    const answer = await alice.get(`/conversations?state=assigned&limit=2${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
    seen.push(...answer.body.items.map((item) => item.conversation.id))
    cursor = answer.body.next_cursor
    if (n < 53) await receive(n++)
  } while (cursor)
  assert.equal(new Set(seen).size, seen.length)
  assert.deepEqual(before.filter((id) => !seen.includes(id)), [])
})

test('the filters of the list of conversations hold', async () => {
  const { queue, otherQueue } = world.ids.demo
  assert.ok((await sue.all(`/conversations?queue_id=${queue}`)).every((item) => item.work.queue_id === queue))
  assert.ok((await sue.all(`/conversations?queue_id=${otherQueue}`)).every((item) => item.work.queue_id === otherQueue))
  assert.ok((await alice.all('/conversations?mine=true')).every((item) => item.work.agent_id === alice.session.agent.id))
  for (const state of ['waiting', 'assigned', 'closed']) assert.ok((await sue.all(`/conversations?state=${state}`)).every((item) => item.work.state === state))
  assert.deepEqual((await oscar.all('/conversations')).length, 3, 'his, and no others')
})

test('the contract that is served is the contract', async () => {
  const { default: YAML } = await import('yaml')
  assert.deepEqual(YAML.parse((await alice.get('/openapi.yaml')).text), openapi)
  assert.equal((await alice.get('/event-schemas.json')).body.$id, 'urn:guichet:event-schemas:v1')
})
