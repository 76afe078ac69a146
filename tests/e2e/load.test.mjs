// Ten thousand webhooks, a tenth of them repeats, over 8 connections: exactly the right rows, and exactly as
// many events on a supervisor's socket.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { newSid, Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, supervisor, events

before(async () => {
  house = new House()
  provider = await new Provider(house).start()
  await house.start()
  supervisor = await Api.login(house, house.agent('sue', { role: 'supervisor' }))
  events = supervisor.events()
  await events.open()
})
after(async () => {
  await events?.close()
  await provider?.stop()
  await house?.stop()
})

test('10,000 webhooks, 1,000 of them repeats, over 8 connections', { timeout: 240000 }, async () => {
  const distinct = Array.from({ length: 9000 }, (_, i) => provider.inbound(`+336399${String(i % 3000).padStart(5, '0')}`, `message ${i}`, { MessageSid: newSid() }))
  const repeats = Array.from({ length: 1000 }, (_, i) => distinct[(i * 9) % 9000])
  // Repeats stand behind their original, at a distance that makes some of them overlap it.
  const work = []
  distinct.forEach((params, i) => {
    work.push(params)
    if (i % 9 === 8) work.push(repeats[Math.floor(i / 9)])
  })
  assert.equal(work.length, 10000)
  let next = 0
  const url = `${house.url}/hooks/sms/sms-demo`
  const connection = async () => {
    while (next < work.length) {
      const params = work[next++]
      const answer = await provider.post(url, params, 'demo')
      assert.equal(answer.status, 200)
    }
  }
  await Promise.all(Array.from({ length: 8 }, connection))
  const rows = await house.sql('SELECT count(*)::int AS n, count(DISTINCT conversation_id)::int AS c FROM context.message')
  assert.deepEqual(rows[0], { n: 9000, c: 3000 })
  await until('as many events', () => events.of('message_received').length >= 9000, { timeoutMs: 60000 })
  await until('every conversation', () => events.of('conversation_opened').length >= 3000, { timeoutMs: 10000 })
  assert.equal(events.of('message_received').length, 9000)
  assert.equal(new Set(events.events.map((event) => event.message?.id).filter(Boolean)).size, 9000)
  const log = await house.sql("SELECT count(*)::int AS n, max(sequence)::int AS top, min(sequence)::int AS bottom FROM routing.event WHERE tenant = 'demo'")
  assert.equal(log[0].top - log[0].bottom + 1, log[0].n, 'the event log has no hole')
  const holes = await house.sql('SELECT thread_id FROM context.message GROUP BY tenant, thread_id HAVING max(sequence) <> count(*)')
  assert.deepEqual(holes, [], 'thread sequences have no hole')
})
