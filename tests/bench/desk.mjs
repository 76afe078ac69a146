// desk.mjs - the house of the benchmark: all services of a release build on a PostgreSQL of its own that has a past.
//
// Making the past takes a minute, so the data directory of the newest is kept, by the hash of what made it, and copied
// for each run.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort, House, top } from '../kit/house.mjs'

const postgres = path.join(top, 'tests/kit/postgres')
// Beside PostgreSQL's own defaults, which are those of a machine of twenty years ago; what makes commits durable stays on.
const settings = ['shared_buffers = 1GB', 'max_wal_size = 4GB', 'checkpoint_timeout = 15min', 'wal_compression = off']

// "postgres: walwriter" says what it is for.
function titleOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0].replace(/^postgres: /, '').trim()
  } catch {
    return 'ended'
  }
}

export class Desk extends House {
  constructor({ customers, messages, cache, settings }) {
    super({ tenants: ['demo'], settings })
    Object.assign(this, { customers, messages, cache })
    this.postgresDir = path.join(this.dir, 'postgres')
  }

  // What the kept past depends on.
  hash() {
    const hash = createHash('sha256')
    for (const service of ['context', 'routing']) {
      const folder = path.join(top, 'services', service, 'schema')
      for (const name of fs.readdirSync(folder).sort()) if (/^\d+_.*\.sql$/.test(name)) hash.update(fs.readFileSync(path.join(folder, name)))
    }
    hash.update(fs.readFileSync(path.join(top, 'tests/bench/preload.sql')))
    hash.update(JSON.stringify([settings, this.customers, this.messages, execFileSync('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin']).toString()]))
    return hash.digest('hex').slice(0, 16)
  }

  async start(say) {
    const kept = path.join(this.cache, `past-${this.hash()}`)
    this.databasePort = await freePort()
    this.providerPort = await freePort()
    if (fs.existsSync(path.join(kept, 'port'))) {
      say(`the past: from ${kept}`)
    } else {
      await this.makePast(kept, say)
    }
    execFileSync('cp', ['-a', '--reflink=auto', kept, this.postgresDir])
    fs.writeFileSync(path.join(this.postgresDir, 'port'), `${this.databasePort}\n`)
    fs.appendFileSync(path.join(this.postgresDir, 'data/postgresql.conf'), `port = ${this.databasePort}\n`)
    await this.open()
    for (const name of this.commands.keys()) this.spawn(name)
    for (const name of this.commands.keys()) await this.ready(name)
  }

  // PostgreSQL runs; the services' files are written.
  async open() {
    this.databaseUrl = execFileSync(postgres, ['start', this.postgresDir, String(this.databasePort)], { encoding: 'utf8' }).trim()
    for (const name of ['context', 'routing']) this.secret(`${name}_database_url`, this.databaseUrl)
    if (this.commands.size === 0) await this.configure()
    this.commands.delete('nginx') // webhooks and the socket go straight to the services
  }

  async makePast(kept, say) {
    const began = Date.now()
    // The services make the tenant; then they leave while its past is written.
    this.databaseUrl = execFileSync(postgres, ['start', this.postgresDir, String(this.databasePort)], { encoding: 'utf8' }).trim()
    fs.appendFileSync(path.join(this.postgresDir, 'data/postgresql.conf'), `${settings.join('\n')}\n`)
    this.stopDatabase()
    await this.open()
    this.ctl(['migrate', '--context-database', this.secret('context_database_url'), '--routing-database', this.secret('routing_database_url')])
    for (const name of ['context', 'routing', 'sms']) this.spawn(name)
    for (const name of ['context', 'routing', 'sms']) await this.ready(name)
    for (const name of ['sms', 'routing', 'context']) await this.kill(name, 'SIGTERM')
    this.psql(['-v', `customers=${this.customers}`, '-v', `messages=${this.messages}`, '-f', path.join(top, 'tests/bench/preload.sql')])
    this.stopDatabase()
    // Several gigabytes: the one before it is of no use any more.
    fs.mkdirSync(this.cache, { recursive: true, mode: 0o755 })
    for (const name of fs.readdirSync(this.cache))
      if (/^past-[0-9a-f]{16}$/.test(name)) fs.rmSync(path.join(this.cache, name), { recursive: true, force: true })
    fs.renameSync(this.postgresDir, `${kept}.new`)
    fs.renameSync(`${kept}.new`, kept)
    say(`the past: ${this.customers} customers, ${this.messages} messages, made in ${Math.round((Date.now() - began) / 1000)} s, kept in ${kept}`)
  }

  // Cleanly: the kit's `stop` is a crash.
  stopDatabase() {
    const pid = Number(fs.readFileSync(path.join(this.postgresDir, 'data/postmaster.pid'), 'utf8').split('\n')[0])
    process.kill(pid, 'SIGINT')
    for (let i = 0; i < 1200 && fs.existsSync(path.join(this.postgresDir, 'data/postmaster.pid')); i++) execFileSync('sleep', ['0.05'])
  }

  psql(args) {
    return execFileSync('psql', ['-qAtX', '-v', 'ON_ERROR_STOP=1', ...args, this.databaseUrl], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim()
  }

  number(text) {
    return Number(this.psql(['-c', text]))
  }

  // Routing has applied what context recorded, and everybody finds everybody again.
  async settled() {
    for (let i = 0; i < 600; i++) {
      const left = this.number("SELECT c.change_sequence - f.cursor FROM context.counter c JOIN routing.feed f USING (tenant) WHERE tenant = 'demo'")
      if (left === 0) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    for (const name of this.commands.keys()) await this.ready(name)
  }

  // Seconds of CPU since their start: each service, PostgreSQL's processes by what they are for.
  cpu() {
    const ticks = 100
    const used = {}
    const children = new Map()
    for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        children.set(Number(pid), { parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / ticks })
      } catch { /* it has just ended */ }
    }
    for (const [name, child] of this.processes) if (!child.end) used[name] = children.get(child.pid)?.seconds ?? 0
    const postmaster = Number(fs.readFileSync(path.join(this.postgresDir, 'data/postmaster.pid'), 'utf8').split('\n')[0])
    for (const [pid, { parent, seconds }] of children) {
      if (parent !== postmaster) continue
      const name = `postgres ${this.clients.get(pid) ?? titleOf(pid)}`
      used[name] = (used[name] ?? 0) + seconds
    }
    return used
  }

  // Which backend serves whom.
  lookAtClients() {
    const rows = this.psql(['-c', "SELECT pid || ' ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'guichet-%'"])
    this.clients = new Map(rows.split('\n').filter(Boolean).map((row) => [Number(row.split(' ')[0]), row.split(' ')[1].replace('guichet-', 'for ')]))
  }

  async stop() {
    for (const name of ['sms', 'gateway', 'routing', 'context']) {
      const child = this.processes.get(name)
      if (child && !child.end) {
        child.kill('SIGTERM')
        const timer = setTimeout(() => child.kill('SIGKILL'), 15000)
        await child.ended
        clearTimeout(timer)
      }
    }
    try {
      execFileSync(postgres, ['stop', this.postgresDir], { stdio: 'ignore' })
    } catch { /* it did not run */ }
    if (!process.env.GUICHET_TEST_KEEP) fs.rmSync(this.dir, { recursive: true, force: true })
  }
}

export const defaultCache = path.join(os.tmpdir(), `guichet-bench-${process.getuid()}`)
