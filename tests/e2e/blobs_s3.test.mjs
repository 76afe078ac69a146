// Blobs in an S3-compatible store: files go there in one signed PUT and come back in pieces; what fails there is
// repeated or told, and nothing is left behind.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { download } from '../kit/api.mjs'
import { openWorld } from '../kit/operations.mjs'
import { S3 } from '../kit/s3.mjs'
import { until } from '../kit/wait.mjs'

let s3, world, house, alice, end, secrets

before(async () => {
  s3 = await new S3().start()
  secrets = fs.mkdtempSync(path.join(os.tmpdir(), 'guichet-s3-'))
  fs.writeFileSync(path.join(secrets, 'right'), s3.secretKey)
  fs.writeFileSync(path.join(secrets, 'wrong'), 'not the secret of this store at all')
  const context = {
    blob_store: 's3', s3_endpoint: s3.endpoint, s3_region: s3.region, s3_bucket: s3.bucket, s3_prefix: 'guichet/',
    s3_access_key: s3.accessKey, s3_secret_key: `file:${secrets}/right`, blob_collect_interval_ms: '1s'
  }
  ;({ world, house, end } = await openWorld({ settings: { context, gateway: { upload_max_bytes: '64MiB' } } }))
  alice = world.api.alice
})
after(async () => {
  await end?.()
  await s3?.stop()
  fs.rmSync(secrets, { recursive: true, force: true })
})

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const one = async (sql, values) => Object.values((await house.sql(sql, values))[0])[0]
const nothingWaits = () => until('nothing waits to be deleted', async () => (await one('SELECT count(*)::int FROM context.blob_removal')) === 0)

test('up in one PUT whose signature holds, down in ranges', async (t) => {
  for (const [label, size] of [['one byte', 1], ['a chunk', 262144], ['much', 5000001]])
    await t.test(label, async () => {
      const bytes = randomBytes(size)
      const uploaded = await alice.upload(bytes, 'application/pdf', 'a.pdf')
      assert.equal(uploaded.status, 201, uploaded.text)
      const found = [...s3.objects].filter(([key]) => key.includes(sha256(bytes)))
      assert.equal(found.length, 1)
      assert.match(found[0][0], /^guichet\/demo\/..\/..\/[0-9a-f]{64}\.[0-9a-f-]{36}$/)
      assert.deepEqual(found[0][1], bytes)
      assert.equal(sha256((await download(uploaded.body.link_url)).bytes), sha256(bytes))
      const middle = await download(uploaded.body.link_url, { headers: { range: `bytes=${size >> 1}-` } })
      assert.deepEqual(middle.bytes, bytes.subarray(size >> 1))
    })
  assert.deepEqual(s3.refused, [])
  await until('the chunks have served', async () => (await one('SELECT count(*)::int FROM context.blob_chunk')) === 0)
  await nothingWaits()
})

test('the same file again is the same object', async () => {
  const bytes = randomBytes(300000)
  await alice.upload(bytes, 'image/png', 'a.png')
  const again = await alice.upload(bytes, 'image/png', 'b.png')
  assert.equal(again.status, 201, again.text)
  await nothingWaits()
  assert.equal([...s3.objects.keys()].filter((key) => key.includes(sha256(bytes))).length, 1)
  assert.equal(sha256((await download(again.body.link_url)).bytes), sha256(bytes))
})

test('a store that fails for a while', async (t) => {
  for (const [label, faults] of [['answers 500', [500]], ['cuts the line', ['cut']], ['both, again and again', [503, 'cut', 500]]])
    await t.test(label, async () => {
      const bytes = randomBytes(1000000)
      s3.failing = [...faults]
      const uploaded = await alice.upload(bytes, 'image/png', 'a.png')
      assert.equal(uploaded.status, 201, uploaded.text)
      s3.failing = [...faults]
      assert.equal(sha256((await download(uploaded.body.link_url)).bytes), sha256(bytes))
    })
})

test('a blob stays readable when the setting changes, and new ones go elsewhere', async () => {
  const bytes = randomBytes(700000)
  const old = await alice.upload(bytes, 'image/png', 'old.png')
  const objects = s3.objects.size
  house.configureAgain('context', { blob_store: 'database' })
  await house.restart('context')
  await house.ready('gateway')
  const fresh = await until('an upload', async () => {
    const answer = await alice.upload(randomBytes(1000), 'image/png', 'new.png')
    return answer.status === 201 && answer
  })
  assert.equal(s3.objects.size, objects)
  assert.equal((await download(fresh.body.link_url)).bytes.length, 1000)
  assert.equal(sha256((await download(old.body.link_url)).bytes), sha256(bytes))
})

test('killed at every step: sent and finished again, and the file is whole', async () => {
  for (const point of ['context_blob_before_chunk', 'context_blob_after_chunk_commit_before_reply', 'context_blob_before_store_put', 'context_blob_after_store_put_before_commit', 'context_blob_before_finish_commit', 'context_blob_after_finish_commit_before_reply']) {
    house.configureAgain('context', { blob_store: 's3' })
    await house.restart('context', { failpoint: `${point}:kill` })
    const bytes = randomBytes(600000)
    const uploading = until('the gateway sees context', async () => {
      const answer = await alice.upload(bytes, 'image/png', 'a.png')
      return answer.status === 201 && answer
    })
    await house.processes.get('context').ended
    assert.equal(house.processes.get('context').end.signal, 'SIGKILL', point)
    house.processes.get('context').isExpected = true
    await house.restart('context')
    const uploaded = await uploading
    assert.equal(sha256((await download(uploaded.body.link_url)).bytes), sha256(bytes), point)
  }
})

test('the grace period is over: objects go, through crashes as well', async () => {
  for (const failpoint of ['context_blob_before_object_removal:kill', 'context_blob_after_object_removal:kill', undefined]) {
    house.configureAgain('context', { blob_grace_ms: '0s' })
    await house.sql("UPDATE context.blob_removal SET due_at = now()")
    await house.restart('context', { failpoint })
    if (failpoint === undefined) break
    await house.processes.get('context').ended
    assert.equal(house.processes.get('context').end.signal, 'SIGKILL', failpoint)
    house.processes.get('context').isExpected = true
  }
  await until('no object is left', () => s3.objects.size === 0)
  await nothingWaits()
  for (const table of ['blob', 'blob_upload', 'blob_chunk']) await until(`no ${table} is left`, async () => (await one(`SELECT count(*)::int FROM context.${table}`)) === 0)
})

test('another secret: refused by the store, told, and nothing is taken', async () => {
  house.configureAgain('context', { blob_grace_ms: '24h', s3_secret_key: `file:${secrets}/wrong` })
  await house.restart('context')
  s3.refused.length = 0
  const uploading = alice.upload(randomBytes(1000), 'image/png', 'a.png').catch((error) => ({ error }))
  await until('it is refused', () => s3.refused.includes('SignatureDoesNotMatch'))
  await until('context says so', () => /upload_not_finished.*SignatureDoesNotMatch/.test(house.log('context')))
  assert.equal(s3.objects.size, 0)
  house.configureAgain('context', { s3_secret_key: `file:${secrets}/right` })
  await house.restart('context')
  await uploading
})
