// The main job, end to end: a customer texts, an agent answers, the receipts come back.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { randomUUID } from 'node:crypto'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { newSid, Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, alice, bob, events
const customer = '+33639981234'

before(async () => {
  house = new House()
  provider = await new Provider(house).start()
  await house.start()
  alice = await Api.login(house, house.agent('alice'))
  bob = await Api.login(house, house.agent('bob', { tenant: 'other' }))
  events = alice.events()
  await events.open()
  assert.equal((await alice.presence('online')).status, 200)
  assert.equal((await bob.presence('online')).status, 200)
})
after(async () => {
  await events?.close()
  await provider?.stop()
  await house?.stop()
})

let conversation

test('a signed text gets a 2xx and reaches the agent who has room, with who it is', async () => {
  const params = provider.inbound(customer, 'Bonjour, ma commande n’est pas arrivée 📦')
  const answer = await provider.receive('demo', params)
  assert.equal(answer.status, 200)
  assert.match(answer.headers['content-type'], /xml/)
  const received = await events.wait('message on the socket', (event) => event.type === 'message_received')
  const assigned = await events.wait('assignment on the socket', (event) => event.type === 'conversation_assigned')
  assert.equal(received.message.text, 'Bonjour, ma commande n’est pas arrivée 📦')
  assert.equal(assigned.agent_id, alice.session.agent.id)
  conversation = received.conversation_id
  const view = await alice.get(`/conversations/${conversation}`)
  assert.equal(view.status, 200)
  assert.equal(view.body.conversation.number, 1)
  assert.equal(view.body.work.state, 'assigned')
  assert.equal(view.body.conversation.threads[0].identity.address.value, customer)
})

test('the answer goes out through the provider’s API, and its receipts come back', async () => {
  const key = randomUUID()
  const answer = await alice.reply(conversation, 'Bonjour ! Elle arrive demain.', { key })
  assert.equal(answer.status, 202)
  const again = await alice.reply(conversation, 'Bonjour ! Elle arrive demain.', { key })
  assert.equal(again.status, 202)
  assert.equal(again.body.message.id, answer.body.message.id)
  const send = await until('the provider got it', () => provider.sent[0])
  assert.equal(send.params.To, customer)
  assert.equal(send.params.From, '+33199000000')
  assert.equal(send.params.Body, 'Bonjour ! Elle arrive demain.')
  await events.wait('delivered on the socket', (event) => event.type === 'delivery_updated' && event.delivery.state === 'delivered')
  const messages = await alice.all(`/conversations/${conversation}/messages`)
  assert.equal(messages.length, 2)
  const out = messages.find((message) => message.direction === 'outbound')
  assert.equal(out.delivery.state, 'delivered')
  assert.equal(out.delivery.provider_id, send.sid)
  assert.equal(provider.sent.length, 1)
})

test('a customer who writes again reaches the same conversation and the same agent', async () => {
  const count = events.of('message_received').length
  await provider.receive('demo', provider.inbound(customer, 'Merci !'))
  const next = await until('second message', () => events.of('message_received')[count])
  assert.equal(next.conversation_id, conversation)
  assert.equal(next.agent_id, alice.session.agent.id)
})

test('a repeat of the same webhook changes nothing', async () => {
  const params = provider.inbound(customer, 'une fois', { MessageSid: newSid() })
  const count = async () => (await house.sql('SELECT count(*)::int AS n FROM context.message'))[0].n
  await provider.receive('demo', params)
  const before = await count()
  for (let i = 0; i < 3; i++) assert.equal((await provider.receive('demo', params)).status, 200)
  assert.equal(await count(), before)
})

test('closed and writing again: the same conversation is reopened for the same agent', async () => {
  assert.equal((await alice.call('POST', `/conversations/${conversation}/close`)).status, 200)
  await events.wait('closed on the socket', (event) => event.type === 'conversation_closed' && event.conversation_id === conversation)
  await provider.receive('demo', provider.inbound(customer, 'Encore une question'))
  await events.wait('reopened on the socket', (event) => event.type === 'conversation_reopened' && event.conversation_id === conversation)
  const view = await until('assigned again', async () => {
    const answer = await alice.get(`/conversations/${conversation}`)
    return answer.body.work?.state === 'assigned' && answer.body
  })
  assert.equal(view.work.agent_id, alice.session.agent.id)
})

test('the agent writes a note, starts a conversation by writing first, and finds the customer', async () => {
  const note = await alice.call('POST', `/conversations/${conversation}/notes`, { text: 'Client fidèle' }, { key: randomUUID() })
  assert.equal(note.status, 201)
  const started = await alice.call(
    'POST',
    '/conversations',
    { account_id: 'sms-demo', recipient: { kind: 'phone', value: '+33639985678' }, text: 'Votre colis est là.' },
    { key: randomUUID() }
  )
  assert.equal(started.status, 202)
  await until('it went out', () => provider.sent.find((send) => send.params.To === '+33639985678'))
  const found = await alice.get(`/customers?identity_kind=phone&identity_value=${encodeURIComponent(customer)}`)
  assert.equal(found.body.items.length, 1)
  const timeline = await alice.all(`/customers/${found.body.items[0].id}/timeline`)
  assert.deepEqual(timeline.filter((message) => message.direction === 'note').length, 1)
  assert.ok(timeline.length >= 5)
})

test('STOP is consent withdrawn: the agent hears at once, START gives it back', async () => {
  await provider.receive('demo', provider.inbound(customer, 'STOP', { OptOutType: 'STOP' }))
  await events.wait('consent on the socket', (event) => event.type === 'consent_changed')
  const refused = await alice.reply(conversation, 'Encore là ?')
  assert.ok([403, 409, 422].includes(refused.status), `answered ${refused.status}`)
  const count = events.of('consent_changed').length
  await provider.receive('demo', provider.inbound(customer, 'START', { OptOutType: 'START' }))
  await until('consent given back', () => events.of('consent_changed').length > count)
  assert.equal((await alice.reply(conversation, 'Nous revoilà.')).status, 202)
})

test('a second tenant with the same number and the same ids sees nothing of it', async () => {
  assert.equal((await bob.get(`/conversations/${conversation}`)).status, 404)
  assert.deepEqual(await bob.all('/conversations'), [])
  const sid = newSid()
  await provider.receive('demo', provider.inbound('+33639980001', 'pour demo', { MessageSid: sid }))
  await provider.receive('other', provider.inbound('+33639980001', 'pour other', { MessageSid: sid }))
  await until('both stored', async () => (await house.sql("SELECT count(*)::int AS n FROM context.event_key WHERE event_key LIKE '%' || $1", [sid]))[0].n === 2)
  const list = await until('bob has his', async () => {
    const items = await bob.all('/conversations')
    return items.length === 1 && items
  })
  assert.equal(list[0].conversation.number, 1)
  const texts = (await bob.all(`/conversations/${list[0].conversation.id}/messages`)).map((message) => message.content.parts[0].text.text)
  assert.deepEqual(texts, ['pour other'])
  assert.ok(!events.events.some((event) => event.message?.text === 'pour other'))
})

test('no secret, no number and no text of a message is in any log', async () => {
  // nginx quotes request lines in its warnings, when what stands behind it is away.
  await house.kill('gateway')
  await alice.get(`/customers?identity_kind=phone&identity_value=${encodeURIComponent(customer)}`)
  for (const name of ['context', 'routing', 'gateway', 'sms', 'log/nginx', 'nginx']) {
    const log = house.log(name)
    for (const canary of ['ma commande', customer.slice(1), house.secretValue('auth_token_demo'), house.secretValue('token_key'), 'pass-alice-demo', alice.session.token])
      assert.ok(!log.includes(canary), `${name} logged ${canary}`)
  }
})
