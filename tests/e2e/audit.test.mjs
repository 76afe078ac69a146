// guichetctl audit: nothing missing while nothing is, and each hole by its name once a row is gone.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { House } from '../kit/house.mjs'
import { Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let house, provider
const texts = 30

// What it prints, and its exit code: 1 is an answer, no failure of the command.
const audit = (...args) => {
  try {
    return { code: 0, out: house.ctl(['audit', ...args]) }
  } catch (error) {
    return { code: error.status, out: `${error.stdout}${error.stderr}` }
  }
}

before(async () => {
  house = new House()
  provider = await new Provider(house).start()
  await house.start()
  house.agent('alice')
  const sent = Array.from({ length: texts }, (_, i) => provider.receive('demo', provider.inbound(`+3363998${1000 + (i % 7)}`, `text ${i}`)))
  for (const answer of await Promise.all(sent)) assert.equal(answer.status, 200)
})
after(async () => {
  await provider?.stop()
  await house?.stop()
})

test('what came is counted, and nothing is missing', () => {
  const { code, out } = audit()
  assert.equal(code, 0, out)
  assert.match(out, new RegExp(`^sms-demo +${texts} +${texts} +0 +0 +0 +0$`, 'm'))
  assert.match(out, /^0 missing$/m)
})

test('nor is what came twice', async () => {
  const params = provider.inbound('+33639981000', 'twice')
  for (let i = 0; i < 2; i++) assert.equal((await provider.receive('demo', params)).status, 200)
  const { code, out } = audit('--since', '1h', '--until', new Date(Date.now() + 60000).toISOString())
  assert.equal(code, 0, out)
  assert.match(out, new RegExp(`^sms-demo +${texts + 2} +${texts + 1} +1 +0 +0 +0$`, 'm'))
})

test('after kill -9 of context and routing under way nothing is missing', async () => {
  const sending = Array.from({ length: texts }, (_, i) => provider.receive('demo', provider.inbound(`+3363997${1000 + i}`, `crash ${i}`)).catch(() => ({})))
  await house.kill('context')
  await house.kill('routing')
  await house.restart('context')
  await house.restart('routing')
  await Promise.all(sending)
  await until('texts get through again', async () => (await provider.receive('demo', provider.inbound('+33639971000', 'again'))).status === 200, { timeoutMs: 30000 })
  const { code, out } = audit()
  assert.equal(code, 0, out)
})

test('a deleted row is named, and the exit code says so', async () => {
  const [{ id }] = await house.sql('SELECT id FROM context.message WHERE tenant = $1 ORDER BY id OFFSET 10 LIMIT 1', ['demo'])
  const [{ boot_id: boot }] = await house.sql('SELECT boot_id FROM context.intake WHERE $1 = ANY (ids) AND 1 = ANY (results)', [id])
  await house.sql('DELETE FROM context.message WHERE id = $1', [id])
  const { code, out } = audit()
  assert.equal(code, 1, out)
  assert.match(out, /^1 missing$/m)
  assert.match(out, new RegExp(`^  boot ${boot} lane \\d+ number \\d+: account sms-demo, event ${id}, recorded \\S+: message is gone$`, 'm'))
})

test('another tenant has lost nothing, and a time that is none is refused', () => {
  assert.equal(audit('--tenant', 'other').code, 0)
  assert.equal(audit('--since', 'yesterday').code, 65)
})
