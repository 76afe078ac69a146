// Each service in turn, and PostgreSQL, is killed with SIGKILL while requests are in flight, and started again:
// inbound nothing lost, nothing doubled, all in order; outbound no silent duplicate and no silent loss.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { Traffic } from '../kit/traffic.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, agent, other, events
const kills = process.env.GUICHET_TEST_FULL ? 25 : 3
// Doubts hold their thread's line for a short while only, so that the end of the ledger can be waited for.
const lease = { delivery_lease_ms: '3s', unknown_hold_ms: '2s' }

before(async () => {
  house = new House({ settings: { routing: lease, sms: { provider_timeout_ms: '2s' } } })
  provider = await new Provider(house).start()
  await house.start()
  agent = await Api.login(house, house.agent('alice', { role: 'supervisor', capacity: 1000 }))
  other = await Api.login(house, house.agent('olga', { tenant: 'other', role: 'supervisor', capacity: 1000 }))
  await other.presence('online')
  events = agent.events()
  await events.open()
  await agent.presence('online')
})
after(async () => {
  await events?.close()
  await provider?.stop()
  await house?.stop()
})

let salt = 10
// Beside each story runs a second tenant's, with the same numbers and the same ids.
function twoTenants() {
  const options = { salt: String(salt++) }
  return [new Traffic(house, provider, agent, options).start(), new Traffic(house, provider, other, { ...options, tenant: 'other', customers: 3 }).start()]
}
for (const name of ['sms', 'routing', 'context', 'gateway', 'postgres']) {
  test(`SIGKILL of ${name}, ${kills} times, under traffic`, { timeout: 600000 }, async (t) => {
    const [traffic, beside] = twoTenants()
    const inFlight = []
    for (let i = 0; i < kills; i++) {
      const count = traffic.customers.reduce((sum, customer) => sum + customer.written.length, 0)
      await until('traffic flows', () => traffic.customers.reduce((sum, customer) => sum + customer.written.length, 0) > count + 20, { timeoutMs: 60000 })
      await until('requests are in flight', () => traffic.inFlight > 0 && (name !== 'gateway' || traffic.replying > 0), { everyMs: 1 })
      inFlight.push(traffic.busy)
      if (name === 'postgres') {
        house.killDatabase()
        house.startDatabase()
      } else await house.restart(name)
    }
    await Promise.all([traffic.stop(), beside.stop()])
    t.diagnostic(`in flight at each kill of ${name}: ${inFlight.join(', ')}`)
    assert.ok(inFlight.every((n) => n > 0))
    await traffic.verify()
    await beside.verify()
    t.diagnostic(`${traffic.customers.reduce((sum, customer) => sum + customer.written.length, 0)} texts, ${traffic.replies.length} answers, ${traffic.unknown} unknown`)
    const last = await house.sql("SELECT max(sequence)::int AS n FROM routing.event WHERE tenant = 'demo'")
    await until('the agent’s socket resumed by itself', () => events.isOpen && events.events.at(-1)?.sequence >= last[0].n, { timeoutMs: 20000 })
    const sequences = events.events.map((event) => Number(event.sequence))
    assert.deepEqual(sequences, [...new Set(sequences)].sort((a, b) => a - b), 'events in order, none twice')
    assert.equal(sequences.at(-1) - sequences[0] + 1, sequences.length, 'a supervisor sees every event: no gap')
    assert.equal(events.resyncs, 0)
  })
}

// Each failpoint: the service that has it is started with "kill at the n-th pass", dies under traffic, and comes back.
const failpoints = {
  context: ['context_before_record', 'context_after_record_commit_before_reply'],
  routing: [
    'routing_before_record_call', 'routing_after_record_before_reply', 'routing_before_apply', 'routing_after_apply_before_doorbell',
    'routing_after_store_outbound_before_reply', 'routing_after_lease_before_reply', 'routing_after_start_before_reply', 'routing_after_report_before_reply'
  ],
  sms: ['connector_after_receive_before_submit', 'connector_after_submit_before_2xx', 'connector_after_start_before_send', 'connector_after_send_before_report'],
  gateway: ['gateway_before_reply_call', 'gateway_after_reply_call_before_202']
}
for (const [name, points] of Object.entries(failpoints)) {
  test(`killed at each failpoint of ${name}`, { timeout: 600000 }, async (t) => {
    const [traffic, beside] = twoTenants()
    for (const point of points) {
      // Not waited for to be ready: the fifth pass may come before anybody asks.
      await house.kill(name)
      const child = house.spawn(name, { failpoint: `${point}:kill@5` })
      child.isExpected = true
      const end = await until(`${name} dies at ${point}`, () => child.end, { timeoutMs: 60000 })
      assert.equal(end.signal, 'SIGKILL')
      assert.ok(traffic.busy > 0, 'with requests in flight')
      t.diagnostic(`${point}: ${traffic.busy} requests in flight`)
      house.spawn(name)
      await house.ready(name)
    }
    await Promise.all([traffic.stop(), beside.stop()])
    await traffic.verify()
    await beside.verify()
    t.diagnostic(`${traffic.replies.length} answers, ${traffic.unknown} unknown`)
  })
}

test('after all of it the audit says 0 missing, for each tenant', () => {
  for (const tenant of ['demo', 'other']) {
    const audit = house.audit(tenant)
    assert.equal(audit.code, 0, audit.text)
    assert.match(audit.text, /^0 missing$/m)
  }
})
