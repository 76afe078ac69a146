// names - what a module exports begins with its name: in libcommon the first word of the file's name, in a
// service that, or the folder's noun. The test build's own archives say what is exported.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { files } from './sources.mjs'

// Modules that hold a small family of names.
const families = {
  'libcommon/core/str': ['str', 'buf', 'utf8', 'hex', 'base64', 'base64url', 'form', 'url'],
  'libcommon/core/str_coding': ['hex', 'base64', 'base64url', 'form', 'url'],
  'libcommon/core/buf': ['buf'],
  'libcommon/core/pb': ['pb'],
  'libcommon/core/id': ['id', 'random'],
  'libcommon/core/duration': ['duration', 'time'],
  'libcommon/core/pbjson': ['pbjson', 'pb']
}

export function exportsOf(root) {
  const build = path.join(root, 'build-test')
  const rows = []
  if (!fs.existsSync(build)) return rows
  const archives = fs.readdirSync(build, { recursive: true }).filter((name) => /libguichet_\w+\.a$/.test(name) && !name.includes('guichet_proto'))
  for (const archive of archives) {
    let object
    for (const line of execFileSync('nm', ['-g', '--defined-only', path.join(build, archive)], { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n')) {
      const header = /^(\w+)\.c\.o:$/.exec(line)
      if (header) object = header[1]
      const symbol = /^[0-9a-f]+ [TDBRC] (\w+)$/.exec(line)
      if (symbol && !symbol[1].startsWith('__')) rows.push({ archive: /libguichet_(\w+)\.a/.exec(archive)[1], object, symbol: symbol[1] })
    }
  }
  return rows
}

export function check(root, rows = exportsOf(root)) {
  const findings = []
  const sources = files(root)
  for (const { archive, object, symbol } of rows) {
    if (/_migrations$|_embed$/.test(object)) continue
    const source = sources.find((name) => name.endsWith(`/${archive}/${object}.c`)) ?? sources.find((name) => name.endsWith(`/${object}.c`))
    if (!source) continue
    const folder = source.split('/').slice(-2)[0]
    const stem = source.replace(/\.c$/, '')
    const allowed = [object.split('_')[0], ...(families[stem] ?? []), ...(source.startsWith('services/') ? [folder] : [])]
    if (!allowed.some((prefix) => symbol === prefix || symbol.startsWith(`${prefix}_`))) findings.push(`${source}: exports ${symbol}, expected ${allowed.join('_ or ')}_`)
  }
  return findings
}

export const seedRows = [{ archive: 'core', object: 'err', symbol: 'helper' }]
