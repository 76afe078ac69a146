// A message that kills whoever records it: after five attempts it is a dead letter, its neighbours hardly wait, and once the defect
// is mended a replay stores it, once.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

const word = 'guichet-poison'
let house, provider, ada, deaths = 0, isSupervised = true

before(async () => {
  house = new House({ tenants: ['demo'], settings: { sms: { spool_scan_ms: '500ms' } } })
  house.options.settings.sms.spool_dir = path.join(house.dir, 'spool')
  fs.mkdirSync(house.options.settings.sms.spool_dir, { recursive: true })
  provider = await new Provider(house).start()
  await house.start()
  ada = await Api.login(house, house.agent('ada', { role: 'admin', capacity: 1000 }))
})
after(async () => {
  isSupervised = false
  await provider?.stop()
  await house?.stop()
})

// As an init system does: context is started again as soon as it dies.
function supervise(child) {
  child.isExpected = true
  child.ended.then(() => {
    if (!isSupervised) return
    deaths++
    supervise(house.spawn('context', { failpoint: 'context_record_poison:kill' }))
  })
}

// Texts of one customer after the other, each awaited; how long each took.
async function write(number, count, isRunning) {
  const took = []
  for (let n = 1; n <= count || isRunning(); n++) {
    const start = performance.now()
    const answer = await provider.post(`${house.url}/hooks/sms/sms-demo`, provider.inbound(number, `texte ${n}`), 'demo')
    assert.equal(answer.status, 200, answer.body)
    took.push(performance.now() - start)
  }
  return took
}

test('after five attempts it is a dead letter; its neighbours hardly wait', async (t) => {
  isSupervised = true
  const dying = house.processes.get('context')
  isSupervised = false
  await house.kill('context', 'SIGTERM')
  isSupervised = true
  supervise(house.spawn('context', { failpoint: 'context_record_poison:kill' }))
  await house.ready('context')
  assert.ok(dying.end)

  let isDone = false
  const neighbours = Promise.all(Array.from({ length: 24 }, (_, i) => write(`+336391${String(i).padStart(5, '0')}`, 30, () => !isDone)))
  const bad = provider.inbound('+33639200000', `bonjour ${word}`)
  assert.equal((await provider.post(`${house.url}/hooks/sms/sms-demo`, bad, 'demo')).status, 200, 'in the spool, at least')
  // Its own thread waits behind it, and goes on after it.
  const behind = provider.post(`${house.url}/hooks/sms/sms-demo`, provider.inbound('+33639200000', 'et ensuite'), 'demo')
  const letter = await until('it is a dead letter', async () => {
    const answer = await ada.get('/dead-letters?kind=event')
    return answer.status === 200 && answer.body.items[0]
  }, { timeoutMs: 90000 })
  isDone = true
  const took = (await neighbours).flat().sort((a, b) => a - b)
  assert.equal((await behind).status, 200)
  const p99 = took[Math.floor(took.length * 0.99)]
  t.diagnostic(`${took.length} texts of neighbours, p99 ${p99.toFixed(0)} ms, slowest ${took.at(-1).toFixed(0)} ms; context died ${deaths} times`)
  assert.equal(letter.attempt_count, 5)
  assert.match(letter.reason, /\S/)
  assert.ok(deaths >= 5)
  // Not a timing of ours: nobody may wait for the poison to be given up, which takes all five attempts.
  assert.ok(p99 < 2000, `p99 ${p99} ms`)
  await until('what came behind is stored', async () => (await house.sql(`SELECT 1 FROM context.message WHERE convert_from(content, 'UTF8') LIKE '%et ensuite%'`)).length === 1)
})

test('its payload is there to be read, and a replay after the repair stores it once', async () => {
  isSupervised = false
  await house.kill('context', 'SIGTERM')
  house.spawn('context')
  await house.ready('context')
  const [letter] = (await ada.all('/dead-letters?kind=event'))
  const whole = await ada.get(`/dead-letters/${letter.id}`)
  assert.match(Buffer.from(whole.body.payload, 'base64').toString(), new RegExp(word))
  const stored = () => house.sql(`SELECT id FROM context.message WHERE position(convert_to('${word}', 'UTF8') in content) > 0`)
  assert.equal((await stored()).length, 0)
  const replays = await Promise.all([1, 2, 3].map(() => ada.call('POST', `/dead-letters/${letter.id}/replay`)))
  for (const answer of replays) assert.ok([200, 409].includes(answer.status), answer.text)
  assert.equal((await stored()).length, 1)
  const again = await ada.call('POST', `/dead-letters/${letter.id}/replay`)
  assert.ok([200, 409].includes(again.status), again.text)
  assert.equal((await stored()).length, 1)
  const after = (await ada.get(`/dead-letters/${letter.id}`)).body.dead_letter
  assert.equal(after.state, 'replayed')
  assert.equal(after.resolved_by, ada.session.agent.id)
  const audit = house.audit()
  assert.equal(audit.code, 0, audit.text)
  assert.match(audit.text, /^0 missing$/m)
})
