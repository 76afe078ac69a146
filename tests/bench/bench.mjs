// bench.mjs - the benchmark's course: a desk with a past, the reference, the load, the proof that all arrived.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { defaultCache, Desk } from './desk.mjs'

const usage = `run ingest|latency [--json] [--option value …]

  ingest    closed loop: as many webhooks as are answered, --rounds times; the median round counts
  latency   one closed round to find the rate, then webhooks at even distances at --share of it

  --messages N      webhooks in a round (60000)        --connections N   of the load (400)
  --rounds N        measured rounds (3)                --share F         of the reached rate (0.5)
  --customers N     in the past (100000)               --past N          messages in the past (1000000)
  --reference N     rows in each try of the reference (40000), 0: none
  --functions       what each SQL function itself took (measuring it costs a little)
  --set S.KEY=VALUE a setting of service S, for trying (repeat at will)
  --cache DIR       where the past is kept (${defaultCache})
  --json            a last line {"rate":…,"p50_ms":…,"p99_ms":…,"reference":…,"ratio":…}`

const [mode, ...words] = process.argv.slice(2)
const option = (name, fallback) => {
  const at = words.indexOf(`--${name}`)
  return at >= 0 ? words[at + 1] : fallback
}
const number = (name, fallback) => Number(option(name, fallback))
if (!['ingest', 'latency'].includes(mode)) {
  console.log(usage)
  process.exit(mode === '--help' ? 0 : 2)
}

// { sms: { lanes: '4' } }
function settingsOf() {
  const settings = { sms: {}, routing: {}, context: {}, gateway: {} }
  words.forEach((word, at) => {
    const found = word === '--set' && /^(\w+)\.(\w+)=(.*)$/.exec(words[at + 1])
    if (found) settings[found[1]][found[2]] = found[3]
  })
  return settings
}

const isJson = words.includes('--json')
const say = (text) => console.log(text)
const program = path.join(process.env.GUICHET_TEST_BIN, 'guichet-bench')
const round1 = (value) => Math.round(value * 10) / 10
const perSecond = (value) => `${Math.round(value).toLocaleString('en')}/s`
const median = (rows, key) => [...rows].sort((a, b) => a[key] - b[key])[(rows.length - 1) >> 1]

const run = promisify(execFile)
async function bench(args) {
  const { stdout } = await run(program, args.map(String), { maxBuffer: 1 << 20 })
  return JSON.parse(stdout.trim().split('\n').pop())
}

// Seconds of CPU of the whole machine since it started: used by anybody or taken away by its host; and there were.
function cpuTimes() {
  const stat = fs.readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/).slice(1, 9).map((ticks) => Number(ticks) / 100)
  const all = stat.reduce((sum, seconds) => sum + seconds, 0)
  return { all, busy: all - stat[3] - stat[4] }
}

let first = 0 // each part draws its own customers
const traffic = (desk, count) => {
  const letters = [...randomBytes(8)].map((byte) => 'abcdefghijklmnopqrstuvwxyz'[byte % 26]).join('')
  const args = ['--mark', letters, '--url', `${desk.url}/hooks/sms/sms-demo`, '--token', desk.secretValue('auth_token_demo'), '--customers', desk.customers, '--first', first, '--messages', count]
  first += count
  return args
}

// Context's own statement alone: routing is held, and applies afterwards what was recorded.
async function reference(desk, { connections, rows }, count) {
  desk.kill('routing', 'SIGSTOP')
  const result = await bench(['reference', '--connections', connections, '--rows', rows, '--database', desk.databaseUrl, ...traffic(desk, count)])
  desk.kill('routing', 'SIGCONT')
  await desk.settled()
  say(`reference: ${connections} connection${connections > 1 ? 's' : ' '} x ${String(rows).padStart(3)} rows: ${perSecond(result.rate)}`)
  return result
}

// Each form of it once; the best is then repeated after each round, since the machine's own speed moves.
async function bestForm(desk, count) {
  const tries = []
  for (const connections of [1, 2]) for (const rows of [64, 256]) tries.push(await reference(desk, { connections, rows }, count))
  return tries.sort((a, b) => b.rate - a.rate)[0]
}

async function supervisor(desk) {
  const agent = desk.agent(`watch${first}`, { role: 'supervisor' })
  const api = `http://127.0.0.1:${desk.apiPort}/v1`
  const post = async (where, body, headers = {}) => {
    const answer = await fetch(`${api}${where}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${where}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }
  const session = await post('/sessions', { tenant: 'demo', login: agent.login, password: agent.password })
  return () => post('/events/ticket', undefined, { authorization: `Bearer ${session.token}` }).then((answer) => answer.ticket)
}

// One round of webhooks; fails unless acknowledged = message rows = events.
async function load(desk, ticket, count, { rate = 0, isQuiet = false } = {}) {
  const messages = () => desk.number('SELECT count(*) FROM context.message')
  const before = messages()
  desk.lookAtClients()
  const cpu = desk.cpu()
  const machine = cpuTimes()
  const result = await bench(['load', '--port', desk.hookPort, '--path', '/hooks/sms/sms-demo', '--events-port', desk.eventsPort,
    '--events-target', `/v1/events?ticket=${encodeURIComponent(await ticket())}`, '--connections', number('connections', 400), '--rate', rate, ...traffic(desk, count)])
  const after = desk.cpu()
  const spent = cpuTimes()
  result.rows = messages() - before
  result.spent = Object.entries(after).map(([name, seconds]) => [name, seconds - (cpu[name] ?? 0)]).concat([['load', result.cpu]])
  const ours = result.spent.reduce((sum, [, seconds]) => sum + seconds, 0)
  result.others = Math.max(0, (spent.busy - machine.busy - ours) / (spent.all - machine.all))
  const faults = []
  if (result.acknowledged !== count) faults.push(`${result.acknowledged} of ${count} webhooks were acknowledged`)
  if (result.rows !== result.acknowledged) faults.push(`${result.acknowledged} acknowledged, ${result.rows} message rows`)
  if (result.events !== result.rows) faults.push(`${result.rows} message rows, ${result.events} events on the socket`)
  if (result.twice > 0) faults.push(`${result.twice} events came twice`)
  if (result.customers * 2 < count) faults.push(`${result.customers} customers of ${count} messages are distinct`)
  if (faults.length > 0) throw new Error(faults.join('\n'))
  if (!isQuiet) sayRound(result, rate)
  return result
}

function sayRound(result, rate) {
  say(`${rate ? `paced at ${perSecond(rate)}` : 'closed loop'}: ${perSecond(result.rate)}; ${result.acknowledged} acknowledged = ${result.rows} rows = ${result.events} events, `
    + `${result.customers} distinct customers${result.repeated ? `, ${result.repeated} sent again` : ''}`)
  for (const [name, what] of [['answer', 'due -> 2xx'], ['visible', 'due -> visible'], ['after_answer', 'accepted -> visible']])
    say(`  ${what.padEnd(20)} p50 ${round1(result[`${name}_p50`])} ms, p99 ${round1(result[`${name}_p99`])} ms`)
}

// Microseconds of CPU for each message, the dearest first.
function saySpent(result) {
  const rows = result.spent.map(([name, seconds]) => [name, (seconds * 1e6) / result.messages]).filter(([, us]) => us >= 1).sort((a, b) => b[1] - a[1])
  say(`CPU per message: ${Math.round(rows.reduce((sum, [, us]) => sum + us, 0))} us of ${Math.round((os.cpus().length * 1e6) / result.rate)} us; others took ${Math.round(result.others * 100)} % of the machine`)
  for (const [name, us] of rows) say(`  ${name.padEnd(36)} ${String(Math.round(us)).padStart(5)} us`)
}

// Of each SQL function, what it took itself, for each message of these rounds.
function sayFunctions(desk, count) {
  const rows = desk.psql(['-c', `SELECT schemaname || '.' || funcname, calls, round(self_time * 1000 / ${count})
    FROM pg_stat_user_functions WHERE self_time * 1000 / ${count} >= 1 ORDER BY self_time DESC`])
  for (const [name, calls, us] of rows.split('\n').filter(Boolean).map((row) => row.split('|'))) say(`  ${name.padEnd(36)} ${us.padStart(5)} us, ${calls} calls`)
}

async function main() {
  const desk = new Desk({ customers: number('customers', 100000), messages: number('past', 1000000), cache: option('cache', defaultCache), settings: settingsOf() })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(signal, () => desk.stop().finally(() => process.exit(130)))
  try {
    await desk.start(say)
    say(`webhooks go straight to the sms connector's port, events come straight from the gateway's; ${os.cpus().length} processors for everything`)
    for (const name of ['server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size'])
      say(`${name} = ${desk.psql(['-c', `SHOW ${name}`])}`)
    const ticket = await supervisor(desk)
    const count = number('messages', 60000)
    await load(desk, ticket, Math.min(count, 10000), { isQuiet: true }) // warm: connections, plans, caches
    const size = number('reference', 40000)
    const form = size > 0 ? await bestForm(desk, size) : undefined
    const references = form ? [form] : []
    const rounds = []
    if (words.includes('--functions')) desk.psql(['-c', "ALTER SYSTEM SET track_functions = 'all'", '-c', 'SELECT pg_reload_conf()', '-c', 'SELECT pg_stat_reset()'])
    for (let i = 0; i < (mode === 'ingest' ? number('rounds', 3) : 1); i++) {
      rounds.push(await load(desk, ticket, count))
      if (form) references.push(await reference(desk, form, size))
    }
    let result = median(rounds, 'rate')
    const rate = result.rate
    const best = form ? median(references, 'rate').rate : 0
    saySpent(result)
    if (words.includes('--functions')) sayFunctions(desk, count * rounds.length)
    if (mode === 'latency') result = await load(desk, ticket, Math.min(count, Math.round(rate * number('share', 0.5) * 15)), { rate: Math.round(rate * number('share', 0.5)) })
    say(`rate ${perSecond(rate)}, reference ${perSecond(best)}, ratio ${best ? (rate / best).toFixed(3) : '-'}`)
    if (isJson)
      console.log(JSON.stringify({ rate: round1(rate), p50_ms: round1(result.after_answer_p50), p99_ms: round1(result.after_answer_p99), reference: round1(best), ratio: best ? Number((rate / best).toFixed(3)) : null }))
  } catch (error) {
    console.error(error.stdout ? `${error.stdout}${error.stderr}` : error)
    for (const name of ['sms', 'routing', 'context', 'gateway']) console.error(`${name}: ${desk.log(name).split('\n').slice(-5).join('\n')}`)
    process.exitCode = 1
  } finally {
    await desk.stop()
  }
}

await main()
