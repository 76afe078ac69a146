// Guichet in containers, on a real Docker engine: healthy, closed to the outside but for one port, and at work.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { randomBytes, randomUUID } from 'node:crypto'
import twilio from 'twilio'
import { Api, download } from '../kit/api.mjs'
import { composeCommand, Containers, publicUrl, startEngine } from '../kit/containers.mjs'
import { newSid } from '../kit/provider.mjs'
import { sha256 } from '../kit/provider_media.mjs'
import { until } from '../kit/wait.mjs'

const services = ['context', 'routing', 'gateway', 'sms']
const engine = composeCommand() && (await startEngine())
if (engine) describe('containers', stories)
else test('compose: no Docker engine here', { skip: true }, () => {})

// A text from a customer, signed as the provider would, to the published port. `files`: { id, type } that it has.
async function text(containers, from, body, files = []) {
  const sid = newSid()
  const media = Object.fromEntries(files.flatMap(({ id, type }, i) => [[`MediaContentType${i}`, type], [`MediaUrl${i}`, `http://provider:8099/2010-04-01/Accounts/ACdemo00000000000000000000000000000/Messages/${sid}/Media/${id}`]]))
  const params = { ...media, AccountSid: 'ACdemo00000000000000000000000000000', ApiVersion: '2010-04-01', Body: body, From: from, MessageSid: sid, NumMedia: String(files.length), NumSegments: '1', SmsMessageSid: sid, SmsSid: sid, SmsStatus: 'received', To: '+33199000000' }
  const signature = twilio.getExpectedTwilioSignature(containers.secret('twilio_auth_token'), publicUrl, params)
  const response = await fetch(`${containers.url}/hooks/sms/sms-demo`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': signature },
    body: new URLSearchParams(params).toString(),
    signal: AbortSignal.timeout(20000)
  })
  await response.text()
  return response.status
}

function stories() {
  let containers, alice, events, built, started
  const customer = '+33639981234'
  const first = 'Bonjour, ma commande n’est pas arrivée'
  let conversation, pictured

  before(async () => {
    containers = await new Containers().start()
    process.once('SIGTERM', async () => {
      await containers.stop()
      process.exit(1)
    })
    built = containers.build()
    started = await containers.up()
  })
  after(async () => {
    await events?.close()
    await containers?.stop()
    await engine?.stop()
  })

  async function login() {
    const password = containers.secret('agent_password')
    // Again, when a connection that was kept open ends in containers that are gone.
    alice = await until('login', () => Api.login(containers, { tenant: 'demo', login: 'alice', password }))
    events = alice.events()
    await events.open()
    assert.equal((await alice.presence('online')).status, 200)
  }

  const provider = (path, options) => fetch(`http://${containers.address('provider')}:8099${path}`, { signal: AbortSignal.timeout(20000), ...options }).then((response) => response.json())

  // A whole turn: the customer texts, the agent reads and answers, the provider gets it, its receipts come back.
  async function story(body) {
    assert.equal(await text(containers, customer, body), 200)
    const received = await events.wait(`${body} on the socket`, (event) => event.type === 'message_received' && event.message.text === body)
    conversation ??= received.conversation_id
    assert.equal(received.conversation_id, conversation)
    const key = randomUUID()
    const answer = await until('the answer is taken', async () => {
      const each = await alice.reply(conversation, `Re: ${body}`, { key })
      return each.status === 202 && each
    }, { timeoutMs: 30000, everyMs: 200 })
    // A job that was handed to a connector just before it ended is offered again when its lease is over: 60 s.
    await until('the provider got it', async () => {
      const sent = await provider('/messages')
      return sent.messages.some((message) => message.to === customer && message.text === `Re: ${body}`)
    }, { timeoutMs: 90000, everyMs: 100 })
    await events.wait('delivered on the socket', (event) => event.type === 'delivery_updated' && event.delivery.message_id === answer.body.message.id && event.delivery.state === 'delivered', { timeoutMs: 30000 })
  }
  // While a service is away its calls are refused: a provider and a good frontend repeat them.
  const again = (body) => until(body, () => text(containers, customer, body).then((status) => status === 200), { timeoutMs: 60000, everyMs: 200 })

  test('built and healthy', (t) => {
    t.diagnostic(`images in ${(built / 1000).toFixed(1)} s (limit, cold: 360), healthy in ${(started / 1000).toFixed(1)} s (limit: 60)`)
    assert.match(containers.log('demo'), /Guichet is ready: .*login alice, tenant demo, password/)
    assert.match(containers.log('demo'), /ctl simulate sms --from/)
    assert.match(containers.log('demo'), /--media \/photo\.jpg/)
  })

  test('nothing runs as root, writes to its root, or gains rights; one port is published', () => {
    const published = []
    for (const container of containers.all()) {
      const name = container.Config.Labels['com.docker.compose.service']
      assert.ok(container.Config.User !== '' && !/^(0|root)(:|$)/.test(container.Config.User), `${name} runs as '${container.Config.User}'`)
      assert.equal(container.HostConfig.ReadonlyRootfs, true, name)
      assert.deepEqual(container.HostConfig.CapDrop, ['ALL'], name)
      assert.ok(container.HostConfig.SecurityOpt.includes('no-new-privileges:true'), name)
      for (const ports of Object.values(container.HostConfig.PortBindings ?? {})) for (const port of ports) published.push(`${name} ${port.HostIp}`)
      for (const variable of container.Config.Env) assert.doesNotMatch(variable, new RegExp(containers.secret('database_password')), name)
    }
    assert.deepEqual(published, ['nginx 127.0.0.1'])
  })

  test('a customer texts, an agent answers, receipts come back', async () => {
    await login()
    await story(first)
  })

  // The files of a message as the API shows them now.
  async function filesOf({ conversation_id: id, message: { id: messageId } }) {
    const message = (await alice.all(`/conversations/${id}/messages`)).find((each) => each.id === messageId)
    return message.content.parts.filter((part) => part.media).map((part) => part.media)
  }
  async function stored(event, bytes) {
    const one = await until('the file is stored', async () => {
      const [file] = await filesOf(event)
      assert.notEqual(file.state, 'failed', file.error)
      return file.state === 'stored' && file
    }, { timeoutMs: 90000, everyMs: 100 })
    assert.equal(new URL(one.link_url).port, new URL(containers.url).port, 'the port that is published')
    const down = await download(one.link_url)
    assert.equal(down.status, 200)
    assert.equal(sha256(down.bytes), sha256(bytes))
    assert.match(down.headers.get('content-disposition'), /^attachment/)
  }

  test('a customer sends a picture: pending, then stored, and the agent loads it', async () => {
    const picture = randomBytes(400000)
    const { id } = await provider('/files', { method: 'POST', body: picture, headers: { 'content-type': 'image/jpeg' } })
    // As long as the provider stands still, nothing can be fetched.
    containers.docker('pause', containers.inspect('provider').Id)
    let event
    try {
      assert.equal(await text(containers, customer, 'La voici', [{ id, type: 'image/jpeg' }]), 200)
      event = await events.wait('the picture on the socket', (each) => each.type === 'message_received' && each.message.text === 'La voici')
      const [pending] = await filesOf(event)
      assert.deepEqual([pending.state, pending.content_type, pending.link_url], ['pending', 'image/jpeg', ''])
    } finally {
      containers.docker('unpause', containers.inspect('provider').Id)
    }
    await stored(event, picture)
    pictured = { event, picture }
  })

  test('an agent sends a picture: the provider reads the same bytes from its link', async () => {
    const picture = randomBytes(300000)
    const uploaded = await alice.upload(picture, 'image/png', 'reçu.png')
    assert.equal(uploaded.status, 201, uploaded.text)
    const answer = await alice.reply(conversation, 'Votre reçu', { media: [uploaded.body.media_id] })
    assert.equal(answer.status, 202, answer.text)
    const sent = await until('the provider read it', async () => (await provider('/messages')).messages.find((message) => message.text === 'Votre reçu'), { timeoutMs: 90000, everyMs: 100 })
    assert.deepEqual(sent.media, [{ status: 200, size: picture.length, sha256: sha256(picture), type: 'image/png' }])
    await events.wait('delivered on the socket', (event) => event.type === 'delivery_updated' && event.delivery.message_id === answer.body.message.id && event.delivery.state === 'delivered', { timeoutMs: 30000 })
  })

  test('what the demo prints works: guichetctl in a container of its own', async () => {
    assert.match(containers.composed('run', '--rm', '-T', 'ctl', 'status'), /account sms-demo +sms +connected/)
    const picture = randomBytes(20000)
    const file = containers.file('photo.jpg', picture)
    assert.match(containers.composed('run', '--rm', '-T', '-v', `${file}:/photo.jpg:ro`, 'ctl', 'simulate', 'sms', '--from', '+33639985678', '--media', '/photo.jpg', 'Allô ?'), /\+33639985678: Allô \?/)
    await stored(await events.wait('the picture on the socket', (event) => event.type === 'message_received' && event.message.text === 'Allô ?'), picture)
  })

  for (const service of ['context', 'routing', 'gateway', 'sms', 'postgres'])
    test(`${service} started again on another address is found again`, async (t) => {
      const { before: from, after: to } = await containers.move(service)
      t.diagnostic(`${from} -> ${to}`)
      await again(`pendant ${service}`)
      await containers.healthy()
      await events.open()
      await story(`après ${service}`)
    })

  test('a service that is killed is started again by the engine', async () => {
    const { State: state, RestartCount: count } = containers.inspect('routing')
    process.kill(state.Pid, 'SIGKILL')
    await until('routing is started again', () => containers.inspect('routing').RestartCount > count, { timeoutMs: 30000 })
    await again('pendant')
    await containers.healthy()
    await story('après')
  })

  test('stopped and taken up again: each ends well, and what was said is there', async (t) => {
    await events.close()
    const start = Date.now()
    containers.composed('stop', '-t', '20')
    t.diagnostic(`stopped in ${((Date.now() - start) / 1000).toFixed(1)} s`)
    for (const service of [...services, 'provider', 'postgres']) assert.equal(containers.inspect(service).State.ExitCode, 0, service)
    containers.composed('rm', '-f')
    await containers.up()
    // The demo sets its agent's password again: that ends the sessions.
    await login()
    const messages = await alice.all(`/conversations/${conversation}/messages`)
    assert.ok(messages.some((message) => message.content.parts[0]?.text?.text === first))
    await stored(pictured.event, pictured.picture)
    await story('le lendemain')
  })
}
