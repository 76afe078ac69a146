// With every fall-back poll set to an hour, what must happen at once happens by doorbell; with every doorbell
// and NOTIFY cut, it happens by poll.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

async function story(house, provider, { timeoutMs }) {
  const alice = await Api.login(house, house.agent('alice', { capacity: 1 }))
  const sue = await Api.login(house, house.agent('sue', { role: 'supervisor', capacity: 1 }))
  const events = sue.events()
  try {
    await tell(house, provider, alice, events, timeoutMs)
  } finally {
    await events.close()
  }
}

async function tell(house, provider, alice, events, timeoutMs) {
  await events.open()
  // The work comes first, then the agent: assigned the moment she comes online.
  await provider.post(`${house.url}/hooks/sms/sms-demo`, provider.inbound('+33639990001', 'un'), 'demo')
  const first = await events.wait('the first waits', (event) => event.type === 'message_received', { timeoutMs })
  await alice.presence('online')
  await events.wait('the first is assigned', (event) => event.type === 'conversation_assigned' && event.conversation_id === first.conversation_id, { timeoutMs })
  // She is full: the second waits, until the first is closed.
  await provider.post(`${house.url}/hooks/sms/sms-demo`, provider.inbound('+33639990002', 'deux'), 'demo')
  const second = await events.wait('the second waits', (event) => event.type === 'message_received' && event.conversation_id !== first.conversation_id, { timeoutMs })
  const answer = await alice.reply(first.conversation_id, 'réponse')
  assert.equal(answer.status, 202)
  await until('the answer reached the provider', () => provider.sent.find((send) => send.params.Body === 'réponse'), { timeoutMs })
  await events.wait('its receipt came back', (event) => event.type === 'delivery_updated' && event.delivery.state === 'delivered', { timeoutMs })
  assert.equal((await alice.call('POST', `/conversations/${first.conversation_id}/close`)).status, 200)
  await events.wait('the second is assigned', (event) => event.type === 'conversation_assigned' && event.conversation_id === second.conversation_id, { timeoutMs })
}

async function inHouse(options, spawnOptions, run) {
  const house = new House(options)
  const provider = await new Provider(house).start()
  try {
    if (spawnOptions) {
      const spawn = house.spawn.bind(house)
      house.spawn = (name, more = {}) => spawn(name, { ...spawnOptions(name), ...more })
    }
    await house.start()
    await run(house, provider)
  } finally {
    await provider.stop()
    await house.stop()
  }
}

test('every fall-back poll at an hour: assignment, delivery and events come by doorbell', { timeout: 120000 }, () =>
  inHouse(
    { routingReplicas: 2, settings: { routing: { poll_ms: '1h' }, gateway: { poll_ms: '1h' } } },
    undefined,
    (house, provider) => story(house, provider, { timeoutMs: 8000 })
  ))

test('NOTIFY and pub/sub cut: all of it comes by poll', { timeout: 120000 }, () =>
  inHouse(
    { routingReplicas: 2, settings: { routing: { poll_ms: '300ms' }, gateway: { poll_ms: '300ms' } } },
    (name) => (/^(routing|context|gateway)/.test(name) ? { failpoint: 'db_notify_cut:drop,mesh_publish_cut:drop' } : {}),
    (house, provider) => story(house, provider, { timeoutMs: 20000 })
  ))
