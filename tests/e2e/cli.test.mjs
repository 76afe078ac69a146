// guichetctl: what an operator types, and the demo of the README: a customer at the provider stand-in, an agent in a
// terminal, both driven through pipes.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Api, download, frameFault } from '../kit/api.mjs'
import { freePort, House } from '../kit/house.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, password
const customer = '+33639981234'
const running = []
const start = (args) => {
  const command = house.ctlSpawn(args)
  running.push(command)
  return command
}
// What a command says when it fails, and how.
const refused = (args) => {
  try {
    house.ctl(args)
  } catch (error) {
    return { code: error.status, err: error.stderr }
  }
  throw new Error(`${args.join(' ')} did not fail`)
}
const migration = (context, routing) => ['migrate', '--context-database', context, '--routing-database', routing]
const says = (command, text, options) => until(`"${text}"`, () => command.out().includes(text) || undefined, options).catch((error) => {
  throw new Error(`${error.message}\nout: ${command.out()}\nerr: ${command.err()}`)
})

before(async () => {
  house = new House()
  house.providerPort = await freePort()
  house.providerUrl = `http://127.0.0.1:${house.providerPort}`
  const account = house.account.bind(house)
  house.account = (tenant) => ({ ...account(tenant), api_base: house.providerUrl, mms: true })
  await house.start()
  provider = start([
    'provider', '--listen', `127.0.0.1:${house.providerPort}`, '--account-sid', 'ACtest0000000000000000000000000000',
    '--auth-token', house.secret('auth_token_demo'), '--number', '+33199000000', '--webhook', `${house.url}/hooks/sms/sms-demo`
  ])
  await until('the stand-in listens', async () => (await fetch(`${house.providerUrl}/messages`)).status === 200)
  password = house.secret('password_demo_alice', 'pass-alice-demo')
})
after(async () => {
  for (const { child } of running) child.kill('SIGTERM')
  for (const { ended } of running) await ended
  await house?.stop()
})

test('migrate again changes nothing', () => {
  const out = house.ctl(migration(house.secret('context_database_url'), house.secret('routing_database_url')))
  assert.match(out, /^schema context is at \d+ \(0 applied now\)\nschema routing is at \d+ \(0 applied now\)\n$/)
})

test('migrate twice at once: each migration is applied once', async () => {
  await house.sql('CREATE DATABASE twice')
  const url = house.secret('twice_database_url', house.databaseUrl.replace(/guichet$/, 'twice'))
  const both = await Promise.all([start(migration(url, url)).ended, start(migration(url, url)).ended])
  for (const { code, err } of both) assert.equal(code, 0, err)
  for (const schema of ['context', 'routing']) {
    const found = both.map(({ out }) => new RegExp(`schema ${schema} is at (\\d+) \\((\\d+) applied now\\)`).exec(out).slice(1).map(Number))
    assert.equal(found[0][0], found[1][0])
    assert.equal(found[0][1] + found[1][1], found[0][0])
  }
})

test('what is missing or wrong is said in one line, with an exit code', () => {
  assert.equal(refused(['nonsense']).code, 2)
  assert.match(house.ctl(['--help']), /agent chat/)
  for (const [args, text] of [
    [['migrate'], /secret is missing/],
    [migration('postgresql://guichet:secret@localhost/guichet', 'x'), /never as itself/],
    [migration('file:/nowhere', 'x'), /\/nowhere/],
    [['agent', 'add'], /login/],
    [['agent', 'add', 'x', '--colour', 'red', '--password', password], /--colour/],
    [['agent', 'add', 'x', '--role', 'king', '--password', password], /king/],
    [['agent', 'add', 'x', '--tenant', 'nowhere', '--password', password], /nowhere/],
    [['agent', 'add', 'x', '--queues', 'support,nowhere', '--password', password], /nowhere/],
    [['simulate', 'sms', 'text'], /--from/]
  ]) {
    const { code, err } = refused(args)
    assert.ok(code > 0, args.join(' '))
    assert.match(err, text)
    assert.equal(err.trim().split('\n').length, 1, err)
    assert.ok(!err.includes('secret@'))
  }
})

test('an agent is made, then changed', async () => {
  const add = (capacity) => house.ctl(['agent', 'add', 'alice', '--name', 'Alice Martin', '--capacity', capacity, '--password', password])
  assert.equal(add('5'), 'agent alice of tenant demo made\n')
  assert.equal(add('7'), 'agent alice of tenant demo changed\n')
  const alice = await Api.login(house, { tenant: 'demo', login: 'alice', password: 'pass-alice-demo' })
  const { body } = await alice.get('/me')
  assert.equal(body.capacity, 7)
  assert.equal(body.display_name, 'Alice Martin')
  assert.equal(body.queue_ids.length, 2)
})

test('the demo: a customer texts, the agent answers in a terminal, the receipts come back', { timeout: 60000 }, async () => {
  const chat = start(['agent', 'chat', '--login', 'alice', '--password', password])
  await says(chat, 'you are online')
  const phone = start(['simulate', 'sms', '--from', customer, '--follow', '60', 'Bonjour, ma commande n’est pas arrivée'])
  await says(phone, `${customer}: Bonjour, ma commande`)
  await says(chat, '[1] customer: Bonjour, ma commande n’est pas arrivée')
  await says(chat, '[1] is yours')
  chat.say('Bonjour ! Elle arrive « demain » \\o/')
  await says(phone, `answer to ${customer}: Bonjour ! Elle arrive « demain » \\o/`)
  await says(chat, '[1] your answer: sent')
  await says(chat, '[1] your answer: delivered')
  chat.say('/note Rappeler demain')
  chat.say('/list')
  await until('the list', () => /^\[1\] assigned/m.test(chat.out()))
  await until('the history, with the note', () => {
    chat.say('/history')
    return /note +Rappeler demain/.test(chat.out())
  }, { everyMs: 200 })
  assert.match(chat.out(), /inbound +Bonjour, ma commande/)
  assert.match(chat.out(), /outbound +Bonjour ! Elle arrive/)
  chat.say('/close')
  await says(chat, '[1] closed')
  chat.say('/quit')
  const end = await chat.ended
  assert.equal(end.code, 0, end.err)
  assert.equal(end.err, '')
  const sue = await Api.login(house, house.agent('sue', { role: 'supervisor' }))
  const agents = await sue.all('/agents')
  assert.equal(agents.find((agent) => agent.login === 'alice').presence, 'offline')
  const [row] = (await sue.get('/conversations')).body.items
  assert.equal(row.work.state, 'closed')
})

test('what waits is taken by number; the terminal says what is refused', { timeout: 60000 }, async () => {
  const chat = start(['agent', 'chat', '--login', 'alice', '--password', password])
  await says(chat, 'you are online')
  chat.say('trop tôt')
  await until('told', () => chat.err().includes('no conversation is yours'))
  chat.say('/away')
  const sue = await Api.login(house, { tenant: 'demo', login: 'sue', password: 'pass-sue-demo' })
  await until('she is away', async () => (await sue.all('/agents')).find((agent) => agent.login === 'alice').presence === 'away')
  house.ctl(['simulate', 'sms', '--from', '+33639985555', 'Quelqu’un ?'])
  await says(chat, '[2] customer: Quelqu’un ?')
  chat.say('/take 99')
  await until('told', () => chat.err().includes('no conversation 99'))
  chat.say('/online')
  await says(chat, '[2] is yours')
  chat.say('/nonsense')
  await until('help again', () => chat.out().split('/take NUMBER').length > 2)
  chat.child.stdin.end()
  assert.equal((await chat.ended).code, 0)
})

test('a wrong password ends the terminal at once', async () => {
  const { code, err } = await start(['agent', 'chat', '--login', 'alice', '--password', house.secret('wrong_password', 'not hers')]).ended
  assert.notEqual(code, 0)
  assert.match(err, /401/)
})

test('tail: from the beginning to a sequence, each event once, as the schema has it; then live', async () => {
  const [{ n }] = await house.sql("SELECT event_sequence::int AS n FROM routing.counter WHERE tenant = 'demo'")
  const events = house.ctl(['tail', '--from', '0', '--until', String(n)]).trim().split('\n').map((line) => JSON.parse(line))
  assert.deepEqual(events.map((event) => Number(event.sequence)), Array.from({ length: n }, (_, i) => i + 1))
  for (const event of events) assert.equal(frameFault({ type: 'event', cursor: 'x', event }), undefined)
  for (const type of ['conversation_opened', 'message_received', 'conversation_assigned', 'message_queued', 'delivery_updated', 'note_added', 'conversation_closed'])
    assert.ok(events.some((event) => event.type === type), type)
  const foreign = start(['tail', '--tenant', 'other', '--from', '0'])
  const live = start(['tail', '--from', String(n)])
  house.ctl(['simulate', 'sms', '--from', '+33639986666', 'en direct'])
  await says(live, '"en direct"')
  assert.equal(Number(JSON.parse(live.out().split('\n')[0]).sequence), n + 1)
  assert.equal(foreign.out(), '')
})

test('status: each tenant, its queues and deliveries, its account', () => {
  const out = house.ctl(['status'])
  const [, demo, other] = out.split(/^tenant /m)
  assert.match(demo, /^demo\n/)
  assert.match(demo, /deliveries pending 0, unknown 0/)
  assert.match(demo, /account sms-demo +sms +connected/)
  assert.match(other, /^other\n[^]*events 0/)
})

test('the demo with files: a customer sends one, the agent answers with one', { timeout: 60000 }, async () => {
  const files = [['photo.png', randomBytes(200000)], ['facture.pdf', randomBytes(3000)]].map(([name, bytes]) => {
    fs.writeFileSync(path.join(house.dir, name), bytes)
    return { path: path.join(house.dir, name), bytes }
  })
  const from = '+33639984321'
  const phone = start(['simulate', 'sms', '--from', from, '--media', files[0].path, '--media', files[1].path, '--follow', '60', 'Voilà la photo'])
  await says(phone, `${from}: Voilà la photo`)
  const sue = await Api.login(house, house.agent('susan', { role: 'supervisor' }))
  const found = await until('both files are stored', async () => {
    const [row] = await house.sql("SELECT conversation_id AS id FROM context.message WHERE tenant = 'demo' AND media_count = 2")
    const [message] = row ? await sue.all(`/conversations/${row.id}/messages`) : []
    const media = message?.content.parts.flatMap((part) => part.media ?? []) ?? []
    return media.length === 2 && media.every((one) => one.state === 'stored') && { conversation: row.id, media }
  })
  for (const [i, one] of found.media.entries()) assert.deepEqual((await download(one.link_url)).bytes, files[i].bytes)
  assert.deepEqual(found.media.map((one) => one.content_type), ['image/png', 'application/pdf'])
  const answer = randomBytes(5000)
  const { media_id: id } = (await sue.upload(answer, 'image/png', 'plan.png')).body
  assert.equal((await sue.reply(found.conversation, 'Le plan', { media: [id] })).status, 202)
  await says(phone, `answer to ${from}: Le plan`)
  await says(phone, `file: image/png, 5000 bytes, SHA-256 ${createHash('sha256').update(answer).digest('hex')}`)
  phone.child.kill('SIGTERM')
  await phone.ended
  const nobody = house.ctlSpawn(['simulate', 'sms', '--from', from, '--media', '/nowhere', 'x'])
  const end = await nobody.ended
  assert.notEqual(end.code, 0)
  assert.match(end.err, /file '\/nowhere'/)
})

test('without routing, and without the stand-in: told, not hung', async () => {
  const away = `tcp://127.0.0.1:${await freePort()}`
  const status = await house.ctlSpawn(['status'], { env: { GUICHET_CTL_ROUTING: away } }).ended
  assert.notEqual(status.code, 0)
  assert.match(status.err, /guichetctl: /)
  const phone = await house.ctlSpawn(['simulate', 'sms', '--from', customer, 'x'], { env: { GUICHET_CTL_PROVIDER: `http://127.0.0.1:${await freePort()}` } }).ended
  assert.equal(phone.code, 69)
  provider.child.kill('SIGTERM')
  assert.equal((await provider.ended).code, 0)
})
