// Files through the gateway: up as they come, down by signed links; whole, in ranges, and refused with a reason.
import assert from 'node:assert/strict'
import http from 'node:http'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { Api, download } from '../kit/api.mjs'
import { openWorld } from '../kit/operations.mjs'
import { until } from '../kit/wait.mjs'

let world, house, alice, end
const otherHost = 'Files.example:8443' // served too

before(async () => {
  ({ world, house, end } = await openWorld({ settings: { gateway: { upload_max_bytes: '3MiB', media_link_ttl_ms: '1h', media_hosts: [otherHost] } } }))
  alice = world.api.alice
})
after(() => end?.())

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const isProblem = (answer, status, code) => {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.body.code, code, answer.text)
}
const count = async (what) => Object.entries(await house.metrics('gateway')).filter(([name]) => name.includes(what)).reduce((sum, [, value]) => sum + value, 0)

// What a link is answered when it is asked under another host; fetch() would set its own.
const statusUnder = (host, link) =>
  new Promise((resolve, reject) => {
    const request = http.get(link, { headers: { host }, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    request.on('error', reject)
  })

test('a file comes back as it went up', async (t) => {
  for (const [label, size, name] of [['one byte', 1, 'a.bin'], ['a chunk to the byte', 262144, 'chunk'], ['one more', 262145, ''], ['ten chunks', 2621440, 'été à l’île & co.pdf']])
    await t.test(label, async () => {
      const bytes = randomBytes(size)
      const uploaded = await alice.upload(bytes, 'application/pdf; charset=x', name)
      assert.equal(uploaded.status, 201, uploaded.text)
      assert.equal(uploaded.body.sha256, sha256(bytes))
      assert.equal(uploaded.body.size_bytes, String(size))
      assert.equal(uploaded.body.content_type, 'application/pdf')
      assert.equal(uploaded.body.file_name, name)
      assert.ok(uploaded.body.link_url.startsWith(house.mediaUrl))
      const down = await download(uploaded.body.link_url)
      assert.equal(down.status, 200)
      assert.equal(sha256(down.bytes), sha256(bytes))
      assert.equal(down.headers.get('content-length'), String(size))
      assert.equal(down.headers.get('content-type'), 'application/pdf')
      assert.equal(down.headers.get('x-content-type-options'), 'nosniff')
      assert.match(down.headers.get('content-security-policy'), /^sandbox/)
      assert.match(down.headers.get('cache-control'), /^private, max-age=\d+$/)
      const disposition = down.headers.get('content-disposition')
      assert.match(disposition, /^attachment/)
      assert.equal(decodeURIComponent(/filename\*=UTF-8''(.*)$/.exec(disposition)[1]), name || 'file')
    })
})

test('ranges and HEAD', async () => {
  const bytes = randomBytes(600000)
  const { link_url: link } = (await alice.upload(bytes, 'video/mp4', 'film.mp4')).body
  for (const [range, first, last] of [['bytes=0-9', 0, 9], ['bytes=262140-262150', 262140, 262150], ['bytes=599999-', 599999, 599999], ['bytes=300000-', 300000, 599999], ['bytes=10-999999', 10, 599999]]) {
    const part = await download(link, { headers: { range } })
    assert.equal(part.status, 206, range)
    assert.equal(part.headers.get('content-range'), `bytes ${first}-${last}/600000`)
    assert.deepEqual(part.bytes, bytes.subarray(first, last + 1), range)
  }
  for (const range of ['bytes=-5', 'bytes=5-1', 'bytes=1-2,5-6', 'lines=1-2', 'bytes=x-']) assert.equal((await download(link, { headers: { range } })).bytes.length, 600000, range)
  const past = await download(link, { headers: { range: 'bytes=600000-' } })
  assert.equal(past.status, 416)
  assert.equal(past.headers.get('content-range'), 'bytes */600000')
  const head = await download(link, { method: 'HEAD' })
  assert.equal(head.headers.get('content-length'), '600000')
  assert.equal(head.bytes.length, 0)
})

test('links that do not hold are 404, and other hosts have no files', async () => {
  const { link_url: link } = (await alice.upload(randomBytes(10), 'text/html', 'x.html')).body
  const [, ticket] = /\/media\/([^/]+)\//.exec(link)
  const changed = `${ticket.slice(0, 20)}${ticket[20] === 'A' ? 'B' : 'A'}${ticket.slice(21)}`
  for (const wrong of [changed, 'x', ticket.slice(0, -1), `${ticket}AAAA`, 'A'.repeat(3000)]) isProblem(await download(`${house.mediaUrl}/${wrong}/x.html`), 404, 'not_found')
  isProblem(await download(link.replace('localhost', '127.0.0.1')), 404, 'not_found')
  for (const [host, status] of [[otherHost.toLowerCase(), 200], ['files.example', 404], ['files.example:84430', 404]]) assert.equal(await statusUnder(host, link), status, host)
  assert.equal((await download(`${house.mediaUrl}/${ticket}/any%20other%20name`)).status, 200, 'the name is for people')
  const posted = await fetch(link, { method: 'POST', body: 'x' })
  assert.equal(posted.status, 405)
  house.configureAgain('gateway', { media_link_ttl_ms: '1s', upload_ttl_ms: '1m' })
  await house.restart('gateway')
})

test('uploads that are refused say why', async () => {
  const nobody = new Api(house)
  isProblem(await nobody.upload(randomBytes(100), 'image/png'), 401, 'unauthorized')
  isProblem(await nobody.upload(randomBytes(1000000), 'image/png'), 401, 'unauthorized')
  isProblem(await new Api(house, { token: 'A'.repeat(43) }).upload(randomBytes(1000000), 'image/png'), 401, 'unauthorized')
  isProblem(await alice.upload(randomBytes(3 * 1024 * 1024 + 1), 'image/png'), 413, 'too_large')
  isProblem(await alice.upload(Buffer.alloc(0), 'image/png'), 400, 'invalid_member')
  for (const name of ['x'.repeat(256), 'a\nb', '\u0000']) isProblem(await alice.upload(randomBytes(10), 'image/png', name), 400, 'invalid_parameter')
  const odd = await alice.upload(randomBytes(10), 'image/png\u00e9', '../../etc/passwd')
  assert.equal(odd.body.content_type, 'application/octet-stream')
  assert.equal(odd.body.file_name, 'passwd')
})

test('a client that leaves in the middle leaves nothing open', async () => {
  const before = await count('uploads_total{result="left"}')
  const request = http.request(`http://127.0.0.1:${house.apiPort}/v1/media`, { method: 'POST', headers: { authorization: `Bearer ${alice.session.token}`, 'content-length': 2000000 } })
  request.on('error', () => {})
  request.write(randomBytes(500000))
  await until('the gateway has the upload', async () => (await count('http_server_open_requests{server="api"}')) === 1)
  request.destroy()
  await until('it is gone', async () => (await count('uploads_total{result="left"}')) === before + 1)
  await until('nothing is open', async () => (await count('http_server_open_requests{server="api"}')) === 0)
})

test('context gone in the middle: 503 or 504, and the same file goes up afterwards', async () => {
  await house.kill('context', 'SIGSTOP')
  const tried = alice.upload(randomBytes(2000000), 'image/png')
  const refused = await tried.finally(() => house.kill('context', 'SIGCONT'))
  assert.ok([503, 504].includes(refused.status), refused.text)
  await until('context is asked again', async () => (await alice.get(`/conversations/${world.ids.demo.conversation}`)).status === 200)
  await until('it goes up', async () => (await alice.upload(randomBytes(2000000), 'image/png')).status === 201)
})

test('a message takes only what was uploaded here', async () => {
  const path = `/conversations/${world.ids.demo.conversation}/notes`
  const foreign = (await world.api.oscar.upload(randomBytes(10), 'image/png', 'of another tenant')).body
  const own = (await alice.upload(Buffer.from('mine'), 'image/png', 'mine.png')).body
  for (const media of [[foreign.media_id], ['nonsense'], [own.media_id, 'x']]) {
    const answer = await alice.call('POST', path, { text: 'x', media }, { key: randomUUID() })
    isProblem(answer, 400, 'invalid_member')
    assert.equal(answer.body.errors[0].pointer, '/media')
  }
  isProblem(await alice.call('POST', path, {}, { key: randomUUID() }), 400, 'missing_member')
  const noted = await alice.call('POST', path, { media: [own.media_id] }, { key: randomUUID() })
  assert.equal(noted.status, 201, noted.text)
  const [part] = noted.body.content.parts
  assert.equal(part.media.state, 'stored')
  assert.equal(part.media.file_name, 'mine.png')
  assert.equal(Buffer.from(part.media.sha256, 'base64').toString('hex'), own.sha256)
  assert.equal((await download(part.media.link_url)).bytes.toString(), 'mine')
})

test('a link ends', async () => {
  const noted = await alice.all(`/conversations/${world.ids.demo.conversation}/messages`)
  const link = noted.flatMap((message) => message.content?.parts ?? []).find((part) => part.media).media.link_url
  await until('it has ended', async () => (await download(link)).status === 404)
})
