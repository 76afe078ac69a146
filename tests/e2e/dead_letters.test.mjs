// What was refused for good or failed too often: kept whole, told, listed, and tried again once the cause is gone.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, alice, events

before(async () => {
  house = new House()
  provider = await new Provider(house).start()
  await house.start()
  alice = await Api.login(house, house.agent('alice', { role: 'supervisor', capacity: 100 }))
  events = alice.events()
  await events.open()
  assert.equal((await alice.presence('online')).status, 200)
})
after(async () => {
  await events?.close()
  await provider?.stop()
  await house?.stop()
})

const ctl = (...args) => house.ctl(['dead-letters', ...args])
const open = () => ctl('list', '--json').split('\n').filter(Boolean).map((line) => JSON.parse(line))
const openOne = (kind) => until(`a dead letter of kind ${kind}`, () => open().find((letter) => letter.kind === kind))
// What guichetctl says where it ends with an error.
function refused(...args) {
  try {
    ctl(...args)
  } catch (error) {
    return { code: error.status, text: `${error.stdout}${error.stderr}` }
  }
  return assert.fail(`dead-letters ${args.join(' ')} ended well`)
}

test('a message the provider refuses: shown with its words, sent once after a replay', async () => {
  const from = '+33639980001'
  assert.equal((await provider.receive('demo', provider.inbound(from, 'hello'))).status, 200)
  const { conversation_id: conversation } = await events.wait('the message', (event) => event.type === 'message_received' && event.message.text === 'hello')
  provider.behave = (send, { answer }) => {
    answer(400, { code: 21211, message: 'The number is not a valid phone number', status: 400 })
    return true
  }
  assert.equal((await alice.reply(conversation, 'hello back')).status, 202)
  const letter = await openOne('delivery')
  provider.behave = undefined
  await events.wait('told', (event) => event.type === 'dead_letter_added' && event.dead_letter_id === letter.id)
  assert.match(letter.reason, /21211/)
  assert.equal(letter.conversation_id, conversation)
  assert.match(ctl('list'), /delivery +open .*21211[^]*\n1 open\n$/)
  assert.match(ctl('list', '--kind', 'event'), /^1 open\n$/)
  assert.match(ctl('show', letter.id), /application\/json[^]*"text":"hello back"/)
  await until('the metric', async () => (await house.metrics('routing'))['guichet_routing_dead_letters_open{tenant="demo"}'] === 1)
  assert.equal((await house.metrics('routing'))['guichet_routing_dead_letters_total{kind="delivery"}'], 1)

  const sent = provider.sent.length
  await house.restart('routing', { failpoint: 'routing_after_replay_before_resolve:kill' })
  assert.ok([69, 75].includes(refused('replay', letter.id).code))
  await house.restart('routing')
  assert.equal(open().length, 1)
  assert.match(ctl('replay', letter.id), /replayed\n$/)
  assert.match(ctl('replay', letter.id), /replayed before\n$/)
  await until('the provider got it', () => provider.sent.length > sent)
  await events.wait('delivered', (event) => event.type === 'delivery_updated' && event.delivery.state === 'delivered')
  assert.equal(provider.sent.length, sent + 1)
  const told = await events.wait('resolved', (event) => event.type === 'dead_letter_resolved' && event.dead_letter_id === letter.id)
  assert.match(told.reason, /^replayed by guichetctl \w+/)
  assert.match(ctl('list'), /^0 open\n$/)
})

test('an event refused for good is kept as it came; a replay that does not help says why; dropped it stays dropped', async () => {
  const params = provider.inbound('+33639980002', 'the first')
  assert.equal((await provider.receive('demo', params)).status, 200)
  await provider.receive('demo', { ...params, Body: 'another text under the same id' })
  const letter = await openOne('event')
  assert.match(ctl('show', letter.id), /another[^]*text/)
  const answer = refused('replay', letter.id)
  assert.equal(answer.code, 65)
  assert.match(answer.text, /stays open: \S/)
  assert.equal(open()[0].replay_count, 1)
  assert.match(ctl('drop', letter.id), /dropped\n$/)
  assert.match(ctl('list', '--state', 'dropped'), /event +dropped/)
  assert.equal(refused('show', '018f2f6e-0000-7000-8000-00000000dead').code, 66)
})

test('a change that cannot be applied: five attempts, passed over; its neighbours go on; applied once after the repair', async () => {
  await house.sql("ALTER TABLE routing.event ADD CONSTRAINT poison CHECK (text NOT LIKE 'poison%')")
  const say = (n, text) => provider.receive('demo', provider.inbound(`+336399810${String(n).padStart(2, '0')}`, text))
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => say(n, n === 7 ? 'poison' : `neighbour ${n}`)))
  assert.ok(answers.every((answer) => answer.status === 200))
  const letter = await openOne('change')
  assert.equal(letter.attempt_count, 5)
  assert.match(letter.reason, /poison/)
  const seen = (text) => house.sql('SELECT count(*)::int AS n FROM routing.event WHERE type = 1 AND text LIKE $1', [text])
  const count = async (text) => (await seen(text))[0].n
  await until('the neighbours', async () => (await count('neighbour %')) === 29)
  assert.equal(refused('replay', '--all').code, 65)
  assert.match(open()[0].replay_error, /poison/)

  await house.sql('ALTER TABLE routing.event DROP CONSTRAINT poison')
  assert.match(ctl('replay', '--all', '--kind', 'change'), /replayed\n$/)
  assert.match(ctl('list'), /^0 open\n$/)
  assert.equal(await count('poison%'), 1)
  await events.wait('the message at last', (event) => event.type === 'message_received' && event.message.text === 'poison')
  const holes = await house.sql("SELECT count(*)::int - max(sequence)::int AS n FROM routing.event WHERE tenant = 'demo'")
  assert.equal(holes[0].n, 0)
})
