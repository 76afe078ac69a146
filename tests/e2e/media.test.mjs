// Files both ways: an MMS of a customer becomes parts that are pending, then stored; what an agent uploads is read by
// the provider from a link. Whatever is wrong with a file, the message arrives and says so.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { Api, download } from '../kit/api.mjs'
import { House } from '../kit/house.mjs'
import { newSid, Provider } from '../kit/provider.mjs'
import { sha256 } from '../kit/provider_media.mjs'
import { until } from '../kit/wait.mjs'

let house, provider, alice, other, events
let number = 33639981000

before(async () => {
  house = new House({
    account: { mms: true },
    settings: { routing: { delivery_lease_ms: '10s' }, sms: { media_max_bytes: '60MiB', media_types: ['image/*', 'video/*', 'application/pdf'], media_stall_timeout_ms: '1s' } }
  })
  provider = await new Provider(house).start()
  await house.start()
  alice = await Api.login(house, house.agent('alice', { role: 'admin', capacity: 1000 }))
  other = await Api.login(house, house.agent('olga', { tenant: 'other', role: 'admin', capacity: 1000 }))
  events = alice.events()
  await events.open()
  await alice.presence('online')
  await other.presence('online')
})
after(async () => {
  await events?.close()
  await provider?.stop()
  await house?.stop()
})

// An MMS from a customer of its own; ends when the message is there.
async function receive(files, { tenant = 'demo', text = 'Voilà', extra } = {}) {
  const from = `+${number++}`
  const params = provider.mms(tenant, from, text, files, extra)
  const answer = await provider.post(`${house.url}/hooks/sms/sms-${tenant}`, params, tenant)
  assert.equal(answer.status, 200)
  return { from, params, sid: params.MessageSid }
}

// Its live event; events name no provider's ids.
async function received(sid, tenant = 'demo') {
  const row = await until(`message ${sid}`, async () => (await house.sql('SELECT id FROM context.message WHERE tenant = $1 AND provider_id = $2', [tenant, sid]))[0])
  return events.wait(`event of ${sid}`, (event) => event.type === 'message_received' && event.message.id === row.id)
}
async function message(conversation, id, api = alice) {
  return (await api.all(`/conversations/${conversation}/messages`)).find((item) => item.id === id)
}
const media = (item) => item.content.parts.filter((part) => part.media).map((part) => part.media)

// The message when none of its files is pending any more.
async function settled(sid, options) {
  const event = await received(sid)
  return until(`files of ${sid}`, async () => {
    const item = await message(event.conversation_id, event.message.id)
    return media(item).every((one) => one.state !== 'pending') && { ...item, conversation: event.conversation_id }
  }, { timeoutMs: 60000, everyMs: 50, ...options })
}

test('an MMS: pending, then stored, and the same bytes come down', async () => {
  const picture = provider.media.add(randomBytes(300000), 'image/jpeg', { name: 'cat.jpg', fault: 'slow' })
  const film = provider.media.add(randomBytes(1000), 'video/mp4')
  const { sid } = await receive([picture, film])
  const event = await received(sid)
  assert.equal(event.message.text, 'Voilà')
  const item = await settled(sid)
  assert.equal(item.content.parts[0].text.text, 'Voilà')
  const [first, second] = media(item)
  assert.deepEqual([first.state, first.content_type, first.file_name, first.size_bytes], ['stored', 'image/jpeg', 'cat.jpg', '300000'])
  assert.deepEqual([second.state, second.content_type, second.size_bytes], ['stored', 'video/mp4', '1000'])
  for (const [one, file] of [[first, picture], [second, film]]) {
    assert.equal(Buffer.from(one.sha256, 'base64').toString('hex'), file.sha256)
    assert.equal(one.provider_url, '', 'where the provider keeps it is nobody’s business')
    const down = await download(one.link_url)
    assert.equal(down.status, 200)
    assert.equal(sha256(down.bytes), file.sha256)
    assert.match(down.headers.get('content-disposition'), /^attachment/)
  }
  const updates = () => events.events.filter((one) => one.type === 'message_updated' && JSON.stringify(one).includes(event.message.id))
  await until('the socket heard of both', () => updates().length >= 2)
  assert.ok(!JSON.stringify(events.events).includes('/media/ME'), 'no event tells the provider’s URL')
  const asked = provider.media.requests.filter((request) => request.id === picture.id)
  assert.deepEqual(asked.map((request) => [request.store, Boolean(request.authorization)]), [[false, true], [true, false]], 'credentials stay at the first host')
})

test('the same webhook again makes no second file', async () => {
  const picture = provider.media.add(randomBytes(1000), 'image/png')
  const { params, sid } = await receive([picture])
  await settled(sid)
  assert.equal((await provider.receive('demo', params)).status, 200)
  assert.equal(provider.media.requests.filter((request) => request.id === picture.id && request.store).length, 1)
})

const faults = [
  ['gone', { fault: 'gone' }, /^gone at the provider \(404\)$/],
  ['credentials refused', { fault: 'refused' }, /^the provider refused to give it \(401\)$/],
  ['wrong type', { fault: 'type' }, /^the type application\/x-msdownload is not allowed$/],
  ['too large', { size: 61 * 1024 * 1024 }, /^too large: it has 63963136 bytes, 62914560 at most$/],
  ['moved inward', { fault: 'inward' }, /^address not allowed$/],
  ['moved round and round', { fault: 'round' }, /too many redirects$/]
]
test('what is wrong with a file is said, beside what is right', async (t) => {
  for (const [label, { size = 2000, ...options }, expected] of faults)
    await t.test(label, async () => {
      const wrong = provider.media.add(Buffer.alloc(size, 'x'), 'image/png', options)
      const right = provider.media.add(randomBytes(500), 'image/png')
      const { sid } = await receive([wrong, right])
      const item = await settled(sid)
      const [first, second] = media(item)
      assert.equal(first.state, 'failed', JSON.stringify(first))
      assert.match(first.error, expected)
      assert.equal(first.link_url, '')
      assert.equal(second.state, 'stored')
      const letters = await alice.all('/dead-letters')
      assert.ok(letters.some((letter) => letter.message_id === item.id && expected.test(letter.reason)), JSON.stringify(letters))
    })
})

test('what passes is tried again: cut in the middle, stalled, broken', async (t) => {
  for (const fault of ['cut', 'stall', 'broken'])
    await t.test(fault, async () => {
      const file = provider.media.add(randomBytes(700000), 'image/png', { fault, times: 1 })
      const { sid } = await receive([file])
      const [one] = media(await settled(sid))
      assert.equal(one.state, 'stored', one.error)
      assert.equal(sha256((await download(one.link_url)).bytes), file.sha256)
    })
})

test('a failed file is fetched again when an admin replays its dead letter', async () => {
  const file = provider.media.add(randomBytes(5000), 'image/png', { fault: 'gone', times: 1 })
  const { sid } = await receive([file])
  const item = await settled(sid)
  assert.equal(media(item)[0].state, 'failed')
  const letter = (await alice.all('/dead-letters')).find((one) => one.message_id === item.id)
  const replayed = await alice.call('POST', `/dead-letters/${letter.id}/replay`)
  assert.ok(replayed.status < 300, replayed.text)
  await until('it is stored', async () => media(await message(item.conversation, item.id))[0].state === 'stored', { timeoutMs: 30000 })
})

test('files of two tenants stay apart', async () => {
  const file = provider.media.add(randomBytes(3000), 'image/png')
  await receive([file], { tenant: 'other' })
  const found = await until('the other tenant has it', async () => {
    for (const row of await other.all('/conversations'))
      for (const item of await other.all(`/conversations/${row.conversation.id}/messages`)) if (media(item).some((one) => one.state === 'stored')) return media(item)[0]
    return undefined
  }, { timeoutMs: 30000 })
  assert.equal(sha256((await download(found.link_url)).bytes), file.sha256)
  const [mine] = await house.sql("SELECT count(*)::int AS n FROM context.blob WHERE tenant = 'demo' AND sha256 = $1", [Buffer.from(file.sha256, 'hex')])
  assert.equal(mine.n, 0)
})

// ---- outbound ----

async function conversationWith(text) {
  const { sid } = await receive([], { text })
  return (await received(sid)).conversation_id
}

test('an agent’s files go out as MMS, and the provider reads the same bytes', async () => {
  const conversation = await conversationWith('Une photo ?')
  const bytes = [randomBytes(700000), randomBytes(20)]
  const uploaded = []
  for (const [i, name] of ['photo.png', 'petite.png'].entries()) uploaded.push((await alice.upload(bytes[i], 'image/png', name)).body.media_id)
  const reply = await alice.reply(conversation, 'Les voici', { media: uploaded })
  assert.equal(reply.status, 202, reply.text)
  const send = await until('the provider has it', () => provider.sent.find((one) => one.params.Body === 'Les voici'))
  assert.equal(send.mediaUrls.length, 2)
  for (const url of send.mediaUrls) assert.ok(url.startsWith(`${house.mediaUrl}/`))
  await events.wait('delivered', (event) => event.type === 'delivery_updated' && event.delivery.message_id === reply.body.message.id && event.delivery.state === 'delivered')
  assert.deepEqual(send.media.map((one) => [one.status, one.type, one.sha256]), bytes.map((one) => [200, 'image/png', sha256(one)]))
})

test('a file without text goes out, one that the provider cannot read fails', async () => {
  const conversation = await conversationWith('Et sans texte ?')
  const { media_id: id } = (await alice.upload(randomBytes(3000), 'image/gif', 'x.gif')).body
  const read = provider.media.read
  provider.media.read = async (url) => ({ url, status: 404 })
  const reply = await alice.reply(conversation, undefined, { media: [id] })
  assert.equal(reply.status, 202, reply.text)
  const failed = await events.wait('failed', (event) => event.type === 'delivery_updated' && event.delivery.message_id === reply.body.message.id && event.delivery.state === 'failed')
  provider.media.read = read
  assert.equal(failed.delivery.provider_code, '63019')
  assert.equal(failed.delivery.reason, 'content_refused')
})

test('what the channel cannot send is refused before it is tried', async () => {
  const conversation = await conversationWith('Trop ?')
  for (const [label, size, type] of [['too large', 5000001, 'image/png'], ['too large for its type', 600001, 'application/pdf'], ['of no such type', 10, 'application/zip']]) {
    const { media_id: id } = (await alice.upload(Buffer.alloc(size, 'x'), type, 'x')).body
    const reply = await alice.reply(conversation, label, { media: [id] })
    assert.ok(reply.status === 400 || reply.status === 409 || reply.status === 422, `${label}: ${reply.status} ${reply.text}`)
  }
})

// ---- crashes ----

const points = {
  sms: [
    'connector_fetch_before_call', 'connector_fetch_before_push', 'connector_fetch_before_finish', 'connector_fetch_after_upload_before_report',
    'connector_after_submit_before_2xx'
  ],
  context: [
    'context_after_record_commit_before_reply', 'context_blob_before_chunk', 'context_blob_after_chunk_commit_before_reply', 'context_blob_before_finish_commit',
    'context_blob_after_finish_commit_before_reply', 'context_before_set_media', 'context_after_set_media_commit_before_reply'
  ],
  routing: ['routing_before_apply', 'routing_after_apply_before_doorbell', 'routing_after_lease_before_reply', 'routing_after_set_media_before_end']
}
// A crash at that point, with a file on its way: the message is there once, the file is stored, and is the same.
async function survives(name, point) {
  await house.kill(name)
  const child = house.spawn(name, { failpoint: `${point}:kill` })
  child.isExpected = true
  const file = provider.media.add(randomBytes(600000), 'image/png')
  const sending = receive([file], { text: point })
  const end = await until(`${name} dies at ${point}`, () => child.end, { timeoutMs: 60000 })
  assert.equal(end.signal, 'SIGKILL')
  house.spawn(name)
  await house.ready(name)
  const { sid } = await sending
  const [one] = media(await settled(sid))
  assert.equal(one.state, 'stored', one.error)
  assert.equal(sha256((await download(one.link_url)).bytes), file.sha256)
  const rows = await house.sql("SELECT count(*)::int AS n FROM context.message WHERE tenant = 'demo' AND provider_id = $1", [sid])
  assert.equal(rows[0].n, 1)
}

for (const [name, list] of Object.entries(points))
  test(`a fetch survives SIGKILL of ${name} at every failpoint`, { timeout: 600000 }, async (t) => {
    for (const point of list) await t.test(point, () => survives(name, point))
  })

test('a fetch survives SIGKILL of context around its store of files', { timeout: 600000 }, async (t) => {
  const folder = path.join(house.dir, 'blobs')
  fs.mkdirSync(folder)
  house.configureAgain('context', { blob_store: 'directory', blob_dir: folder })
  for (const point of ['context_blob_before_store_put', 'context_blob_after_store_put_before_commit']) await t.test(point, () => survives('context', point))
})

// ---- 50 MB ----

// Highest resident memory since the last reset, in bytes.
function memory(name) {
  const file = `/proc/${house.processes.get(name).pid}`
  const peak = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`${file}/status`, 'utf8'))[1]) * 1024
  fs.writeFileSync(`${file}/clear_refs`, '5')
  const before = peak()
  return () => peak() - before
}
const names = ['sms', 'routing', 'context', 'gateway']

test('50 MB in and out, streamed', { timeout: 300000 }, async (t) => {
  // A sanitizer keeps freed memory back, so that the figure says nothing there.
  const isSanitized = fs.readFileSync(house.commands.get('sms').program).includes('__asan_init')
  const warm = provider.media.add(randomBytes(2000000), 'video/mp4')
  const [first] = media(await settled((await receive([warm])).sid))
  await download(first.link_url)
  const file = provider.media.add(randomBytes(50000000), 'video/mp4')
  const grown = Object.fromEntries(names.map((name) => [name, memory(name)]))
  const [one] = media(await settled((await receive([file])).sid, { timeoutMs: 120000 }))
  assert.equal(one.state, 'stored', one.error)
  assert.equal(one.size_bytes, '50000000')
  const down = await download(one.link_url)
  assert.equal(sha256(down.bytes), file.sha256)
  for (const name of names) {
    const bytes = grown[name]()
    t.diagnostic(`${name} grew by ${(bytes / 1048576).toFixed(1)} MiB`)
    if (!isSanitized) assert.ok(bytes < 16 * 1048576, `${name} grew by ${bytes} bytes`)
  }
})
