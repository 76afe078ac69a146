// describe - settings and metrics in a service's README are what the program itself says (--describe).
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { read } from './sources.mjs'

export const services = [
  ['services/context', 'guichet-context'],
  ['services/routing', 'guichet-routing'],
  ['services/gateway', 'guichet-gateway'],
  ['services/connectors/sms', 'guichet-sms']
]

const block = (text) => /<!-- describe -->\n([^]*?)<!-- \/describe -->/.exec(text)?.[1].trim()

export function check(root, described = (program) => execFileSync(path.join(root, 'build-test/bin', program), ['--describe'], { encoding: 'utf8' })) {
  const findings = []
  for (const [folder, program] of services) {
    const file = `${folder}/README.md`
    if (!fs.existsSync(path.join(root, file))) {
      findings.push(`${file} is missing`)
      continue
    }
    const have = block(read(root, file))
    if (have === undefined) findings.push(`${file}: no <!-- describe --> block`)
    else if (have !== described(program).trim()) findings.push(`${file}: its tables are not what ${program} --describe prints; tests/lint/describe-update.mjs mends it`)
  }
  return findings
}
