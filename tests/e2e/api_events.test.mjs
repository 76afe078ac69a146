// The live socket: who hears what, resuming without a gap or a repeat, resync, and each way it is closed.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { randomUUID } from 'node:crypto'
import { Api, handshake } from '../kit/api.mjs'
import { openWorld } from '../kit/operations.mjs'
import { newSid } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let world, house, provider, alice, sue, oscar, end
const sockets = []
const listen = async (api, options) => {
  const events = api.events(options)
  sockets.push(events)
  await events.open()
  return events
}
const write = async (n, text, tenant = 'demo') => {
  const params = provider.inbound(`+3363996${String(n).padStart(4, '0')}`, text, { MessageSid: newSid() })
  assert.equal((await provider.receive(tenant, params)).status, 200)
}
const lastSequence = async (tenant = 'demo') => Number((await house.sql('SELECT max(sequence) AS n FROM routing.event WHERE tenant = $1', [tenant]))[0].n)
const sequences = (events) => events.events.map((event) => Number(event.sequence))

before(async () => {
  ({ world, house, provider, end } = await openWorld({
    settings: { gateway: { ring_events: 20, read_events: 40, socket_queue_bytes: '64KiB', socket_stall_ms: '1s', session_check_ms: '500ms' } }
  }))
  ;({ alice, sue, oscar } = world.api)
})
after(async () => {
  for (const socket of sockets) await socket.close()
  await end?.()
})

test('hello first; ping gets pong with the cursor; anything else an error frame, and the socket stays', async () => {
  const events = await listen(sue)
  const [hello] = events.frames
  assert.equal(hello.type, 'hello')
  assert.equal(hello.heartbeat_ms, 25000)
  events.send('{"type":"ping"}')
  assert.equal((await events.frame('pong')).cursor, events.cursor)
  for (const text of ['nonsense', '[]', '{"type":"subscribe"}', '{}', '{"type":1}']) events.send(text)
  await until('five errors', () => events.frames.filter((frame) => frame.type === 'error').length === 5)
  assert.ok(events.isOpen)
  await events.close()
})

test('a supervisor hears the whole tenant in the log’s order, an agent what is theirs, nobody another tenant', async () => {
  const bill = await Api.login(house, house.agent('bill', { queues: 'billing' }))
  const [ofSue, ofAlice, ofBill, ofOscar] = await Promise.all([listen(sue), listen(alice), listen(bill), listen(oscar)])
  await write(1, 'pour alice')
  const received = await ofAlice.wait('hers', (event) => event.type === 'message_received' && event.message.text === 'pour alice')
  const path = `/conversations/${received.conversation_id}`
  assert.equal((await alice.call('POST', `${path}/notes`, { text: 'note' }, { key: randomUUID() })).status, 201)
  assert.equal((await alice.reply(received.conversation_id, 'réponse')).status, 202)
  await ofAlice.wait('delivered', (event) => event.type === 'delivery_updated' && event.delivery.state === 'delivered')
  assert.equal((await alice.call('POST', `${path}/close`)).status, 200)
  assert.equal((await alice.call('POST', `${path}/reopen`)).status, 200)
  const read = await alice.get(`/customers/${received.customer_id}`)
  await alice.call('PATCH', `/customers/${received.customer_id}`, { display_name: 'Zoé' }, { headers: { 'if-match': read.headers.get('etag') } })
  await alice.presence('away')
  await alice.presence('online')
  const last = await until('sue has all of it', async () => {
    const n = await lastSequence()
    return sequences(ofSue).at(-1) === n && n
  })
  const types = new Set(ofSue.events.map((event) => event.type))
  for (const type of ['message_received', 'message_queued', 'note_added', 'conversation_opened', 'conversation_assigned', 'conversation_closed', 'conversation_reopened', 'delivery_updated', 'customer_updated', 'presence_changed'])
    assert.ok(types.has(type), `${type} is not among ${[...types]}`)
  const seen = sequences(ofSue)
  assert.deepEqual(seen, Array.from({ length: seen.length }, (_, i) => last - seen.length + 1 + i), 'without holes')
  assert.ok(!ofBill.events.some((event) => event.message || event.conversation_id === received.conversation_id), 'bill hears nothing of it')
  assert.ok(!ofOscar.events.some((event) => event.conversation_id === received.conversation_id))
  await write(2, 'pour oscar', 'other')
  await ofOscar.wait('his', (event) => event.message?.text === 'pour oscar')
  assert.ok(![...ofSue.events, ...ofAlice.events].some((event) => event.message?.text === 'pour oscar'))
  for (const events of [ofSue, ofAlice, ofBill, ofOscar]) await events.close()
})

// Within the ring (20 events) and far behind it.
for (const count of [3, 60]) {
  test(`a cursor resumes after ${count} missed messages, without a gap or a repeat`, async () => {
    const first = await listen(sue)
    await write(10, 'avant')
    await first.wait('before', (event) => event.message?.text === 'avant')
    await until('it has caught up', async () => sequences(first).at(-1) === (await lastSequence()))
    const { cursor } = first
    const from = sequences(first).at(-1)
    await first.close()
    for (let i = 0; i < count; i++) await write(10 + (i % 4), `manqué ${i}`)
    const second = await listen(sue, { cursor })
    for (let i = 0; i < 5; i++) await write(10, `après ${i}`)
    await second.wait('the last', (event) => event.message?.text === 'après 4')
    const last = await until('all', async () => {
      const n = await lastSequence()
      return sequences(second).at(-1) === n && n
    })
    assert.deepEqual(sequences(second), Array.from({ length: last - from }, (_, i) => from + 1 + i))
    assert.equal(second.resyncs, 0)
    await second.close()
  })
}

test('cut again and again while customers write: each event once, in order', async () => {
  const events = await listen(sue)
  const from = sequences(events).at(-1) ?? (await lastSequence())
  for (let i = 0; i < 40; i++) {
    await write(20 + (i % 5), `coupé ${i}`)
    if (i % 5 === 2) {
      await events.open()
      events.isOpen = false
      events.socket.terminate()
    }
  }
  const last = await until('all of it', async () => {
    const n = await lastSequence()
    return sequences(events).at(-1) === n && n
  })
  const seen = sequences(events)
  assert.deepEqual(seen, Array.from({ length: last - seen[0] + 1 }, (_, i) => seen[0] + i))
  assert.ok(seen[0] <= from + 1)
  assert.ok(events.connects >= 8)
  await events.close()
})

test('a cursor of another life of the log, or of one that is no more: resync_required, then live', async () => {
  const foreign = Buffer.from(`e1:${randomUUID()}:7`).toString('base64url')
  const events = await listen(sue, { cursor: foreign })
  const frame = await events.frame('resync_required')
  assert.notEqual(frame.cursor, foreign)
  await write(30, 'après resync')
  await events.wait('live again', (event) => event.message?.text === 'après resync')
  const good = Buffer.from(events.cursor, 'base64url').toString().split(':')
  await events.close()
  // Older than the log keeps.
  await house.sql("DELETE FROM routing.event WHERE tenant = 'demo' AND sequence <= 5")
  const old = await listen(sue, { cursor: Buffer.from(`e1:${good[1]}:2`).toString('base64url') })
  await old.frame('resync_required')
  await old.close()
})

test('1013 for a client that never reads; it comes back with its cursor and misses nothing', async (t) => {
  const events = await listen(sue)
  const { cursor } = events
  const from = await lastSequence()
  await events.close()
  let raw
  await handshake(house, { ticket: await sue.ticket() }, {}, { onSocket: (socket) => { raw = socket.pause() } })
  // What the kernels on the way hold is lost on it; what the gateway holds is bounded.
  const closed = async () => Object.entries(await house.metrics('gateway')).filter(([name]) => name.includes('sockets_closed_total') && name.includes('1013')).reduce((sum, [, value]) => sum + value, 0)
  assert.equal(await closed(), 0)
  const text = 'x'.repeat(1500)
  await until('it is closed as too slow', async () => {
    await Promise.all(Array.from({ length: 32 }, (_, i) => write(100 + i, text)))
    return (await closed()) === 1
  }, { timeoutMs: 90000, everyMs: 1 })
  raw.destroy()
  t.diagnostic(`closed after ${(await lastSequence()) - from} events`)
  const began = Date.now()
  const again = await listen(sue, { cursor })
  const last = await until('all of it', async () => {
    const n = await lastSequence()
    return sequences(again).at(-1) === n && n
  }, { timeoutMs: 60000 }).catch((error) => { throw new Error(`${error.message}: ${again.events.length} events, ${again.connects} connections, ${again.closeCode}`) })
  assert.equal(again.connects, 1, 'who reads is never too slow, however far behind')
  t.diagnostic(`caught up in ${Date.now() - began} ms`)
  assert.deepEqual(sequences(again), Array.from({ length: last - from }, (_, i) => from + 1 + i))
  await again.close()
})

test('4001 when the session ends: at log-out here, and when routing ended it', async () => {
  const one = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  const first = await listen(one, { isOnce: true })
  assert.equal((await one.call('DELETE', '/sessions/current')).status, 204)
  await until('closed', () => first.closeCode !== undefined)
  assert.equal(first.closeCode, 4001)
  const two = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  const second = await listen(two, { isOnce: true })
  const started = Date.now()
  await house.sql("DELETE FROM routing.session WHERE tenant = 'demo' AND agent_id = $1", [alice.session.agent.id])
  await until('closed', () => second.closeCode !== undefined)
  assert.equal(second.closeCode, 4001)
  assert.ok(Date.now() - started < 5000)
})

test('1012 when the gateway restarts; the socket resumes where it was', async () => {
  const events = await listen(sue)
  await write(40, 'avant le redémarrage')
  await events.wait('before', (event) => event.message?.text === 'avant le redémarrage')
  await until('it has caught up', async () => sequences(events).at(-1) === (await lastSequence()))
  const child = house.processes.get('gateway')
  child.isExpected = true
  child.kill('SIGTERM')
  assert.equal((await child.ended).code, 0)
  assert.equal(events.closeCode, 1012)
  await write(40, 'pendant')
  house.spawn('gateway')
  await house.ready('gateway')
  await events.wait('after', (event) => event.message?.text === 'pendant')
  const seen = sequences(events)
  assert.deepEqual(seen, Array.from({ length: seen.length }, (_, i) => seen[0] + i))
  assert.equal(events.resyncs, 0)
  await events.close()
})
