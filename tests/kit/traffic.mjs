// traffic.mjs - customers who write and an agent who answers, with a ledger of everything acknowledged.
//
// Each customer writes one message after the other: the next only after the 2xx of the last, so that order can be
// judged. The agent answers each conversation it hears of, with an idempotency key, until it gets a 202. At the end
// the ledger is held against the database and against what the provider received.
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { until } from './wait.mjs'

export class Traffic {
  constructor(house, provider, agent, { tenant = 'demo', customers = 12, prefix = '+33639', salt = '00' } = {}) {
    Object.assign(this, { house, provider, agent, tenant, prefix, salt })
    this.customers = Array.from({ length: customers }, (_, i) => ({ number: `${prefix}${salt}${String(i).padStart(4, '0')}`, written: [] }))
    this.inFlight = 0
    this.replying = 0
    this.replies = [] // { key, conversation, id }
    this.failed = []
    this.unavailable = 0 // the agent's calls that were no success at the first try
    this.repeated = 0
  }

  start() {
    this.isRunning = true
    this.loops = [...this.customers.map((customer) => this.write(customer)), this.answer(), this.answer(), this.answer(), this.answer()]
    return this
  }

  async write(customer) {
    const url = `${this.house.url}/hooks/sms/sms-${this.tenant}`
    while (this.isRunning) {
      // The same numbers and the same ids in every tenant: only the text tells whose it is.
      const n = customer.written.length + 1
      const sid = `SM${createHash('md5').update(`${this.salt} ${customer.number} ${n}`).digest('hex')}`
      const params = this.provider.inbound(customer.number, `${this.tenant}: ${customer.number} ${n}`, { MessageSid: sid })
      this.inFlight++
      const answer = await this.provider.post(url, params, this.tenant, { tries: 400 })
      this.inFlight--
      if (answer.status !== 200) {
        this.failed.push(`inbound ${sid}: ${answer.status} ${answer.body}`)
        return
      }
      customer.written.push(sid)
    }
  }

  async answer() {
    while (this.isRunning) {
      const rows = await this.agent.get('/conversations?state=assigned&limit=50').catch(() => undefined)
      if (rows?.status !== 200) {
        this.unavailable++
        await pause(50)
        continue
      }
      const items = rows.body.items
      if (items.length === 0) {
        await pause(50)
        continue
      }
      await this.reply(items[Math.floor(Math.random() * items.length)].conversation.id)
    }
  }

  async reply(conversation) {
    const key = randomUUID()
    const text = `answer ${key}`
    this.replying++
    for (let i = 0; i < 400; i++) {
      if (i > 0) this.repeated++
      const answer = await this.agent.reply(conversation, text, { key }).catch((error) => ({ status: 0, text: error.message }))
      if (answer.status === 202) {
        this.replies.push({ key, conversation, text, id: answer.body.message.id })
        break
      }
      if (answer.status !== 0 && answer.status < 500 && answer.status !== 429) {
        this.failed.push(`reply ${key}: ${answer.status} ${answer.text}`)
        break
      }
      await pause(50 + Math.random() * 100)
    }
    this.replying--
  }

  // Requests under way now, both ways.
  get busy() { return this.inFlight + this.replying }

  async stop() {
    this.isRunning = false
    await Promise.all(this.loops)
  }

  async verify() {
    assert.deepEqual(this.failed, [])
    await this.verifyInbound()
    await this.verifyOutbound()
    await this.verifyApart()
  }

  // No row of another tenant is ours, by id or by text.
  async verifyApart() {
    const crossed = await this.house.sql(
      `SELECT m.id FROM context.message m JOIN context.thread t ON t.id = m.thread_id WHERE m.tenant = $1 AND t.tenant <> m.tenant
       UNION ALL SELECT i.id FROM context.identity i JOIN context.customer c ON c.id = i.customer_id WHERE i.tenant = $1 AND c.tenant <> i.tenant
       UNION ALL SELECT d.id FROM routing.delivery d JOIN context.message m ON m.id = d.message_id WHERE d.tenant = $1 AND m.tenant <> d.tenant`,
      [this.tenant]
    )
    assert.deepEqual(crossed, [], 'rows of two tenants are tied together')
    const texts = await this.house.sql(
      `SELECT count(*)::int AS n FROM context.message WHERE tenant = $1 AND direction = 1 AND provider_id = ANY($2) AND position(convert_to($3, 'UTF8') IN content) = 0`,
      [this.tenant, this.customers.flatMap((customer) => customer.written), `${this.tenant}: `]
    )
    assert.equal(texts[0].n, 0, 'texts of another tenant')
  }

  async verifyInbound() {
    const rows = await this.house.sql(
      `SELECT m.provider_id, m.thread_id, m.sequence FROM context.message m WHERE m.tenant = $1 AND m.direction = 1 AND m.provider_id = ANY($2) ORDER BY m.thread_id, m.sequence`,
      [this.tenant, this.customers.flatMap((customer) => customer.written)]
    )
    const seen = new Map()
    rows.forEach((row, index) => {
      assert.ok(!seen.has(row.provider_id), `${row.provider_id} is doubled`)
      seen.set(row.provider_id, { ...row, index })
    })
    for (const customer of this.customers) {
      const lost = customer.written.filter((sid) => !seen.has(sid))
      assert.deepEqual(lost, [], 'acknowledged and lost')
      const places = customer.written.map((sid) => seen.get(sid).index)
      assert.deepEqual(places, [...places].sort((a, b) => a - b), `order of ${customer.number}`)
    }
  }

  async verifyOutbound() {
    await until('the feed is applied, and no delivery is under way', async () => {
      const [feed] = await this.house.sql(
        'SELECT f.cursor::int AS cursor, c.change_sequence::int AS changes FROM routing.feed f JOIN context.counter c USING (tenant) WHERE tenant = $1',
        [this.tenant]
      )
      if (feed.cursor !== feed.changes) throw new Error(JSON.stringify(feed))
      const rows = await this.house.sql('SELECT state::int AS state, count(*)::int AS n FROM routing.delivery WHERE tenant = $1 AND state IN (1, 2, 3) GROUP BY state', [this.tenant])
      if (rows.length > 0) throw new Error(JSON.stringify(rows))
      return true
    }, { timeoutMs: 60000, everyMs: 200 })
    const ids = this.replies.map((reply) => reply.id)
    assert.equal(new Set(ids).size, ids.length, 'two keys, one message')
    const rows = await this.house.sql('SELECT message_id::text AS id, state::int AS state FROM routing.delivery WHERE tenant = $1 AND message_id = ANY($2::uuid[])', [this.tenant, ids])
    const states = new Map(rows.map((row) => [row.id, row.state]))
    assert.equal(rows.length, ids.length, 'one delivery per acknowledged answer')
    const got = new Map()
    for (const send of this.provider.sent.filter((each) => each.tenant === this.tenant)) got.set(send.params.Body, (got.get(send.params.Body) ?? 0) + 1)
    this.unknown = 0
    for (const reply of this.replies) {
      const state = states.get(reply.id)
      const times = got.get(reply.text) ?? 0
      assert.ok(times <= 1, `${reply.text} was sent ${times} times`)
      if (state === 8) this.unknown++
      else assert.equal(times, 1, `${reply.text} is in state ${state} and reached the provider ${times} times`)
      assert.notEqual(state, 7, `${reply.text} failed`)
    }
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
