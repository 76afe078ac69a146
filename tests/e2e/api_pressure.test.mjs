// Each operation while what is behind the gateway hangs, is overrun, or is gone: 504, 429, 503; and after it, 200.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { handshake } from '../kit/api.mjs'
import { openWorld, operations, withStatus } from '../kit/operations.mjs'
import { until } from '../kit/wait.mjs'

let world, house, alice, end
// A session is asked for each time, so that routing is behind every operation; one attempt takes all the time there is.
const quick = { session_cache_ms: '0ms', request_timeout_ms: '400ms', login_timeout_ms: '400ms', attempt_timeout_ms: '2s', ticket_ttl_ms: '5m' }
const patient = { session_cache_ms: '0ms', request_timeout_ms: '30s', login_timeout_ms: '30s', attempt_timeout_ms: '30s', ticket_ttl_ms: '5m' }

before(async () => {
  ({ world, house, end } = await openWorld({}))
  alice = world.api.alice
})
after(() => end?.())

const stop = (...names) => Promise.all(names.map((name) => house.kill(name, 'SIGSTOP')))
const go = (...names) => Promise.all(names.map((name) => house.kill(name, 'SIGCONT')))
const healthy = () => until('the API answers again', async () => (await alice.get('/conversations')).status === 200, { timeoutMs: 20000 })
const gateway = async (settings) => {
  house.configureAgain('gateway', settings)
  await house.restart('gateway')
  await healthy()
}
const call = async (operation, tickets) => world.call(world.may(operation), operation, { ids: operation.id === 'openEvents' ? { ticket: tickets.pop() } : {} })
const isProblem = (answer, status) => {
  assert.equal(answer.status, status, answer.text)
  assert.match(answer.body.trace_id, /^[0-9a-f]{32}$/)
  if (status !== 504) assert.ok(Number(answer.headers.get?.('retry-after') ?? answer.headers['retry-after']) >= 1)
}
const openRequests = async (listener) =>
  Object.entries(await house.metrics('gateway')).find(([name]) => name.includes('http_server_open_requests{') && name.includes(`"${listener}"`))?.[1]
// One after the other: the limit may be one request.
const tickets = async (n) => {
  const have = []
  while (have.length < n) have.push(await alice.ticket())
  return have
}

test('504 while routing and context hang', { timeout: 240000 }, async (t) => {
  await gateway(quick)
  const have = await tickets(6)
  for (const operation of withStatus(504)) {
    await t.test(operation.id, async () => {
      // After three failures in a row the breaker says 503 at once: it is closed again before each.
      await healthy()
      await stop('routing', 'context')
      try {
        isProblem(await call(operation, have), 504)
      } finally {
        await go('routing', 'context')
      }
    })
  }
  await healthy()
})

test('504 while context alone hangs; what does not need it goes on', { timeout: 240000 }, async (t) => {
  await gateway({ ...quick, session_cache_ms: '30s' })
  const needsContext = (operation) => /conversations|customers/.test(operation.template)
  for (const operation of withStatus(504).filter((one) => needsContext(one) && one.id !== 'startConversation')) {
    await t.test(operation.id, async () => {
      await healthy()
      await stop('context')
      try {
        isProblem(await call(operation), 504)
        assert.equal((await alice.get('/queues')).status, 200)
      } finally {
        await go('context')
      }
    })
  }
  await healthy()
})

test('429 past the limit of requests, told at once', { timeout: 120000 }, async (t) => {
  await gateway({ ...patient, requests_max: 1 })
  const have = await tickets(4)
  await stop('routing')
  const hanging = [alice.get('/me'), handshake(house, { ticket: have.pop() })]
  try {
    await until('both listeners are full', async () => (await openRequests('api')) === 1 && (await openRequests('events')) === 1)
    for (const operation of withStatus(429))
      await t.test(operation.id, async () => {
        const began = Date.now()
        isProblem(await call(operation, have), 429)
        assert.ok(Date.now() - began < 2000)
      })
  } finally {
    await go('routing')
    await Promise.allSettled(hanging)
  }
  assert.equal((await hanging[0]).status, 200, 'the one that was let in is answered')
  assert.equal((await hanging[1]).status, 101)
  await healthy()
})

test('503 while routing and context are gone; all of it works when they are back', { timeout: 120000 }, async (t) => {
  await gateway({ ...quick, requests_max: undefined })
  const have = await tickets(4)
  await house.kill('routing')
  await house.kill('context')
  await until('it is known', async () => (await alice.get('/me')).status === 503)
  for (const operation of withStatus(503)) await t.test(operation.id, async () => isProblem(await call(operation, have), 503))
  for (const operation of operations.filter((one) => !one.statuses.includes(503))) assert.equal((await call(operation, have)).status, 200)
  for (const name of ['context', 'routing']) {
    house.spawn(name)
    await house.ready(name)
  }
  await house.ready('sms')
  await healthy()
  for (const operation of operations.filter((one) => one.method === 'GET' && one.id !== 'openEvents')) assert.equal((await call(operation, have)).status, 200, operation.id)
})

test('what was asked before the gateway is told to stop is answered', async () => {
  await gateway({ ...patient })
  await stop('routing')
  const asked = Array.from({ length: 5 }, () => alice.get('/me'))
  await until('they are under way', async () => (await openRequests('api')) === 5)
  const child = house.processes.get('gateway')
  child.isExpected = true
  child.kill('SIGTERM')
  await go('routing')
  assert.deepEqual((await Promise.all(asked)).map((answer) => answer.status), [200, 200, 200, 200, 200])
  assert.equal((await child.ended).code, 0)
  house.spawn('gateway')
  await house.ready('gateway')
})
