// Two context and two routing replicas; one of them stops without dying: nothing fails beyond its first retry.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { newSid, Provider } from '../kit/provider.mjs'
import { Traffic } from '../kit/traffic.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, agent
const stopMs = process.env.GUICHET_TEST_FULL ? 60000 : 30000

before(async () => {
  house = new House({ contextReplicas: 2, routingReplicas: 2, settings: { sms: { submit_timeout_ms: '8s' } } })
  provider = await new Provider(house).start()
  await house.start()
  agent = await Api.login(house, house.agent('alice', { role: 'supervisor', capacity: 1000 }))
  await agent.presence('online')
})
after(async () => {
  for (const name of ['context1', 'context2', 'routing1', 'routing2']) house?.processes.get(name)?.kill('SIGCONT')
  await provider?.stop()
  await house?.stop()
})

for (const name of ['context1', 'routing2', 'routing1']) {
  test(`${name} is stopped for ${stopMs / 1000} s: no request fails beyond its first retry`, { timeout: 180000 }, async (t) => {
    const salt = { context1: '50', routing2: '51', routing1: '52' }[name]
    const traffic = new Traffic(house, provider, agent, { salt, customers: 6 })
    // Count what fails at first: a webhook that is not 2xx at its first try was not retried inside.
    const failures = []
    traffic.provider = Object.create(provider, {
      post: { value: async (url, params, tenant) => {
        const answer = await provider.once(url, params, tenant)
        if (answer.status !== 200) failures.push(`${answer.status} ${answer.body}`)
        return answer.status === 200 ? answer : provider.post(url, params, tenant)
      } }
    })
    traffic.start()
    await until('traffic flows', () => traffic.customers.every((customer) => customer.written.length > 2), { timeoutMs: 30000 })
    await house.kill(name, 'SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, stopMs))
    const during = traffic.customers.reduce((sum, customer) => sum + customer.written.length, 0)
    await house.kill(name, 'SIGCONT')
    house.processes.get(name).isExpected = false
    await traffic.stop()
    t.diagnostic(`${during} texts and ${traffic.replies.length} answers while ${name} was stopped; failed at first: ${failures.length}`)
    assert.ok(during > 50, 'traffic went on')
    assert.deepEqual(failures.slice(0, 5), [])
    assert.deepEqual({ lists: traffic.unavailable, replies: traffic.repeated }, { lists: 0, replies: 0 }, "the agent's calls")
    await traffic.verify()
  })
}

test('the same batch through both replicas at once is recorded once', async () => {
  const params = Array.from({ length: 100 }, (_, i) => provider.inbound(`+3363960${String(i % 10).padStart(4, '0')}`, `${i}`, { MessageSid: newSid() }))
  await Promise.all(params.flatMap((each) => [provider.receive('demo', each), provider.receive('demo', each), provider.receive('demo', each)]))
  const rows = await house.sql('SELECT count(*)::int AS n FROM context.message WHERE provider_id = ANY($1)', [params.map((each) => each.MessageSid)])
  assert.equal(rows[0].n, 100)
})

test('after all of it the audit says 0 missing', () => {
  const audit = house.audit()
  assert.equal(audit.code, 0, audit.text)
  assert.match(audit.text, /^0 missing$/m)
})
