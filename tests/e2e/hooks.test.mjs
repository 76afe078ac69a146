// What a provider can do wrong, and what it hears.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Api } from '../kit/api.mjs'
import { House, top } from '../kit/house.mjs'
import { accountSid, newSid, Provider } from '../kit/provider.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, supervisor
const count = async () => (await house.sql('SELECT count(*)::int AS n FROM context.message'))[0].n

before(async () => {
  house = new House({ settings: { sms: { body_max_bytes: 65536 } } })
  provider = await new Provider(house).start()
  await house.start()
  supervisor = await Api.login(house, house.agent('sue', { role: 'supervisor' }))
})
after(async () => {
  await provider?.stop()
  await house?.stop()
})

test('a wrong signature is 403, counted, logged with the URL it was checked against, and stores nothing', async () => {
  const before = await count()
  const answer = await provider.receive('demo', provider.inbound('+33639981111', 'faux'), { signature: 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=' })
  assert.equal(answer.status, 403)
  assert.equal((await provider.receive('demo', provider.inbound('+33639981111', 'faux'), { token: 'another' })).status, 403)
  assert.equal(await count(), before)
  assert.ok(house.log('sms').includes(`${house.url}/hooks/sms/sms-demo`))
  const metrics = await house.metrics('sms')
  const refused = Object.entries(metrics).filter(([name]) => /signature/.test(name)).reduce((sum, [, value]) => sum + value, 0)
  assert.ok(refused >= 2, JSON.stringify(Object.keys(metrics)))
})

test('another tenant’s token does not open this account', async () => {
  assert.equal((await provider.receive('demo', provider.inbound('+33639981111', 'faux'), { token: provider.token('other') })).status, 403)
})

test('malformed forms are refused by name, unknown accounts and methods too', async () => {
  const url = `${house.url}/hooks/sms/sms-demo`
  assert.equal((await provider.once(`${house.url}/hooks/sms/nobody`, provider.inbound('+33639981111', 'x'), 'demo')).status, 404)
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 405)
  const params = { AccountSid: accountSid, From: '+33639981111', To: '+33199000000', Body: 'sans id' }
  const missing = await provider.once(url, params, 'demo')
  assert.equal(missing.status, 400)
  assert.match(missing.body, /MessageSid/)
})

test('too large is 413', async () => {
  const answer = await provider.receive('demo', provider.inbound('+33639981111', 'x'.repeat(200000)))
  assert.equal(answer.status, 413)
})

test('what the connector does not know is stored as unsupported and shown', async () => {
  const sid = newSid()
  const params = { ...provider.inbound('+33639982222', ''), MessageSid: sid, SmsSid: sid, SmsMessageSid: sid }
  delete params.Body
  assert.equal((await provider.receive('demo', params)).status, 200)
  const list = await until('it is there', async () => {
    const items = await supervisor.all('/conversations')
    return items.length > 0 && items
  })
  const messages = await supervisor.all(`/conversations/${list[0].conversation.id}/messages`)
  assert.equal(messages[0].kind, 'unsupported')
})

test('every form among the real payloads goes through', async (t) => {
  const folder = path.resolve(top, '../shared/fixtures/sms-twilio')
  if (!fs.existsSync(folder)) return t.diagnostic('no fixtures beside the checkout')
  const before = await count()
  for (const name of fs.readdirSync(folder).filter((file) => file.endsWith('.form'))) {
    const params = Object.fromEntries(new URLSearchParams(fs.readFileSync(path.join(folder, name), 'utf8')))
    const isStatus = 'MessageStatus' in params
    const answer = await provider.once(`${house.url}/hooks/sms/sms-demo${isStatus ? '/status' : ''}`, { ...params, AccountSid: accountSid }, 'demo')
    assert.ok(answer.status >= 200 && answer.status < 300, `${name}: ${answer.status} ${answer.body}`)
  }
  assert.ok((await count()) > before)
  return undefined
})

test('PostgreSQL down is 503 and never a false 2xx; it goes through once it is back', async () => {
  const params = provider.inbound('+33639983333', 'pendant la panne')
  house.killDatabase()
  const answer = await provider.receive('demo', params)
  assert.equal(answer.status, 503)
  assert.ok(Number(answer.headers['retry-after']) >= 1)
  house.startDatabase()
  assert.equal((await provider.post(`${house.url}/hooks/sms/sms-demo`, params, 'demo')).status, 200)
  const rows = await house.sql("SELECT count(*)::int AS n FROM context.event_key WHERE event_key LIKE '%' || $1", [params.MessageSid])
  assert.equal(rows[0].n, 1)
})

test('the centre down is 503', async () => {
  await house.kill('routing')
  const answer = await provider.receive('demo', provider.inbound('+33639984444', 'x'))
  assert.equal(answer.status, 503)
  assert.ok(Number(answer.headers['retry-after']) >= 1)
  house.spawn('routing')
  await house.ready('routing')
  await house.ready('sms')
})
