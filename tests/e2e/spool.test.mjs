// The spool: PostgreSQL is away, the connector is killed, its disk is full or fails. Whatever had a 2xx is in the
// database afterwards, once and in order, and an fsync came before each such 2xx.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { House, top } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { Traffic } from '../kit/traffic.mjs'
import { until } from '../kit/wait.mjs'

const bin = process.env.GUICHET_TEST_BIN ?? path.join(top, 'build-test/bin')
const awayMs = process.env.GUICHET_TEST_FULL ? 120000 : 20000
const perSecond = 200
let house, provider

before(async () => {
  house = new House({ tenants: ['demo'], settings: { sms: {} } })
  house.options.settings.sms.spool_dir = folder('spool')
  house.options.settings.sms.spool_scan_ms = '500ms'
  provider = await new Provider(house).start()
  await house.start()
})
after(async () => {
  await provider?.stop()
  await house?.stop()
})

const running = []
let isDown = false
const stopDatabase = () => {
  house.killDatabase()
  isDown = true
}
const startDatabase = () => {
  house.startDatabase()
  isDown = false
}
afterEach(async () => {
  if (isDown) startDatabase()
  await Promise.all(running.splice(0).map((traffic) => traffic.stop()))
})

function folder(name) {
  const dir = path.join(house.dir, name)
  fs.mkdirSync(dir, { recursive: true })
  return dir
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const spooled = async () => (await house.metrics('sms')).guichet_connector_spool_events

// Customers who write at an even pace, each the next text only after the 2xx of the last.
class Paced {
  constructor(salt, { customers = 60, rate = perSecond } = {}) {
    Object.assign(this, { salt, rate, tenant: 'demo', failed: [], refused: 0, isRunning: true })
    this.customers = Array.from({ length: customers }, (_, i) => ({ number: `+3363${salt}${String(i).padStart(5, '0')}`, written: [] }))
    running.push(this)
    this.loops = this.customers.map((customer, i) => this.write(customer, (i * 1000) / this.rate))
  }

  async write(customer, offsetMs) {
    const everyMs = (this.customers.length * 1000) / this.rate
    const start = Date.now() + offsetMs
    for (let n = 1; this.isRunning; n++) {
      await pause(Math.max(0, start + n * everyMs - Date.now()))
      const sid = `SM${createHash('md5').update(`${customer.number} ${n}`).digest('hex')}`
      const params = provider.inbound(customer.number, `${customer.number} ${n}`, { MessageSid: sid })
      const answer = await provider.post(`${house.url}/hooks/sms/sms-demo`, params, 'demo', { tries: 600, onTry: (i) => { this.refused += i > 0 } })
      if (answer.status !== 200) {
        this.failed.push(`${sid}: ${answer.status}`)
        return
      }
      customer.written.push(sid)
    }
  }

  get count() { return this.customers.reduce((sum, customer) => sum + customer.written.length, 0) }

  async stop() {
    this.isRunning = false
    await Promise.all(this.loops)
  }
}

// Each 2xx is in the database, once, in the order of its thread; and no number that was given is unexplained.
async function verify(traffic) {
  assert.deepEqual(traffic.failed, [])
  await Traffic.prototype.verifyInbound.call({ house, tenant: 'demo', customers: traffic.customers })
  const holes = await house.sql(
    `WITH told AS (
       SELECT boot_id, boot_lane, unnest(numbers) AS n FROM context.intake WHERE results <> '{4}'
       UNION SELECT boot_id, boot_lane, generate_series(numbers[1], numbers[2]) FROM context.intake WHERE results = '{4}')
     SELECT boot_id, boot_lane, max(n)::int AS last, count(DISTINCT n)::int AS told FROM told GROUP BY 1, 2 HAVING max(n) <> count(DISTINCT n)`
  )
  assert.deepEqual(holes, [], 'numbers without an explanation')
}

test(`PostgreSQL is away for ${awayMs / 1000} s under ${perSecond} webhooks a second, and the connector is killed meanwhile`, { timeout: 500000 }, async (t) => {
  const traffic = new Paced('10')
  await until('traffic flows', () => traffic.count > 200, { timeoutMs: 60000 })
  stopDatabase()
  const count = traffic.count
  await pause(awayMs / 2)
  assert.ok((await spooled()) > 0, 'the spool is in use')
  const before = await spooled()
  await house.kill('sms')
  house.spawn('sms')
  await house.ready('sms')
  await until(`the next process has them, ${before} at least`, async () => (await spooled()) >= before)
  await pause(awayMs / 2)
  const away = traffic.count - count
  startDatabase()
  await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 120000, everyMs: 200 })
  await traffic.stop()
  await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 60000 })
  t.diagnostic(`${away} acknowledged while PostgreSQL was away (${Math.round((away * 1000) / awayMs)} a second), ${traffic.count} in all, ${traffic.refused} repeats`)
  assert.ok(away > 0)
  await verify(traffic)
})

test('an fsync comes before each 2xx of the spool', { timeout: 120000 }, async (t) => {
  const log = path.join(house.dir, 'fsync.log')
  const env = { LD_PRELOAD: path.join(bin, 'guichet_fsync_preload.so'), GUICHET_FSYNC_LOG: log, GUICHET_FSYNC_DELAY_MS: '40', ASAN_OPTIONS: 'verify_asan_link_order=0:detect_leaks=1' }
  await house.restart('sms', { env })
  stopDatabase()
  const answered = new Map()
  await Promise.all(
    Array.from({ length: 20 }, async (_, customer) => {
      for (let n = 0; n < 10; n++) {
        const params = provider.inbound(`+3363920${String(customer).padStart(4, '0')}`, `text ${n}`)
        const answer = await provider.post(`${house.url}/hooks/sms/sms-demo`, params, 'demo')
        assert.equal(answer.status, 200)
        answered.set(params.MessageSid, process.hrtime.bigint())
      }
    })
  )
  const synced = new Map()
  let fsyncs = 0
  for (const line of fs.readFileSync(log, 'utf8').trim().split('\n')) {
    const [at, ...ids] = line.split(' ')
    fsyncs += ids.length > 0
    for (const id of ids) if (!synced.has(id)) synced.set(id, BigInt(at))
  }
  assert.equal(answered.size, 200)
  for (const [sid, at] of answered) {
    assert.ok(synced.has(sid), `${sid} had a 2xx and no fsync`)
    assert.ok(synced.get(sid) < at, `${sid} had its 2xx before the fsync`)
  }
  t.diagnostic(`200 answers, ${fsyncs} fsyncs with messages: group commit`)
  startDatabase()
  await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 60000 })
  await house.restart('sms')
})

test('fsync fails: 503, nothing lost, and it goes on by itself', { timeout: 120000 }, async () => {
  const broken = path.join(house.dir, 'disk-is-broken')
  const env = { LD_PRELOAD: path.join(bin, 'guichet_fsync_preload.so'), GUICHET_FSYNC_FAILS: broken, ASAN_OPTIONS: 'verify_asan_link_order=0:detect_leaks=1' }
  await house.restart('sms', { env })
  stopDatabase()
  const traffic = new Paced('11', { customers: 5, rate: 50 })
  await until('the spool is in use', async () => (await spooled()) > 20, { timeoutMs: 30000 })
  fs.writeFileSync(broken, '')
  const refused = traffic.refused
  await until('the provider is told 503', () => traffic.refused > refused + 10, { timeoutMs: 30000 })
  fs.rmSync(broken)
  const count = traffic.count
  await until('the spool is written again', () => traffic.count > count + 50, { timeoutMs: 30000 })
  startDatabase()
  await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 60000 })
  await traffic.stop()
  await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 60000 })
  await verify(traffic)
  assert.equal((await house.metrics('sms')).guichet_connector_spool_put_aside_total ?? 0, 0, 'no file was damaged')
  await house.restart('sms')
})

test("the spool's disk is full: 503, no damage, and it goes on when there is room", { timeout: 180000 }, async (t) => {
  const dir = folder('tiny')
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', dir], { stdio: 'pipe' })
  } catch {
    return t.skip('only root can mount a small disk')
  }
  try {
    house.configureAgain('sms', { spool_dir: dir, spool_free_min_bytes: '1MiB' })
    await house.restart('sms')
    stopDatabase()
    const traffic = new Paced('12', { customers: 20, rate: 200 })
    await until('the disk is full', async () => (await house.metrics('sms')).guichet_connector_spool_refusing === 1, { timeoutMs: 60000 })
    const refused = traffic.refused
    await until('the provider is told 503', () => traffic.refused > refused + 20, { timeoutMs: 30000 })
    assert.equal((await fetch(`http://${house.commands.get('sms').ops}/readyz`)).status, 503)
    const count = await spooled()
    assert.ok(count > 0)
    await house.kill('sms')
    house.spawn('sms')
    await until('the next process has them', async () => (await spooled()) >= count, { timeoutMs: 30000 })
    startDatabase()
    await until('all is out of the spool', async () => (await spooled()) === 0, { timeoutMs: 60000 })
    const written = traffic.count
    await until('traffic flows again', () => traffic.count > written + 50, { timeoutMs: 60000 })
    await traffic.stop()
    await verify(traffic)
    assert.equal((await house.metrics('sms')).guichet_connector_spool_put_aside_total ?? 0, 0, 'no file was damaged')
  } finally {
    await house.kill('sms')
    execFileSync('umount', [dir], { stdio: 'pipe' })
    house.configureAgain('sms', { spool_dir: folder('spool'), spool_free_min_bytes: undefined })
    house.spawn('sms')
    await house.ready('sms')
  }
})

test('guichetctl spool: an orphan is listed, and moved to where a connector runs', { timeout: 120000 }, async () => {
  const orphans = folder('orphans')
  house.configureAgain('sms', { spool_dir: orphans })
  await house.restart('sms')
  stopDatabase()
  const params = provider.inbound('+33639300001', 'from an orphan')
  assert.equal((await provider.post(`${house.url}/hooks/sms/sms-demo`, params, 'demo')).status, 200)
  assert.match(house.ctl(['spool', 'list', orphans]), /in use by a running connector/)
  await house.kill('sms')
  assert.match(house.ctl(['spool', 'list', orphans]), /of sms-1, nobody has it: 1 events, 0 outcomes/)
  house.configureAgain('sms', { spool_dir: folder('spool') })
  startDatabase()
  house.spawn('sms')
  await house.ready('sms')
  assert.match(house.ctl(['spool', 'adopt', orphans, '--into', folder('spool')]), /1 moved, 0 left/)
  await until('it is recorded', async () => (await house.sql('SELECT 1 FROM context.message WHERE provider_id = $1', [params.MessageSid])).length === 1)
  assert.match(house.ctl(['spool', 'list', orphans]), /no spool files/)
})
