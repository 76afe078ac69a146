#!/usr/bin/env node
// describe-update.mjs: puts what each program says of itself (--describe) into its README.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { services } from './describe.mjs'

const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
for (const [folder, program] of services) {
  const file = path.join(top, folder, 'README.md')
  const text = execFileSync(path.join(process.env.GUICHET_TEST_BIN ?? path.join(top, 'build-test/bin'), program), ['--describe'], { encoding: 'utf8' }).trim()
  const next = fs.readFileSync(file, 'utf8').replace(/<!-- describe -->[^]*<!-- \/describe -->/, () => `<!-- describe -->\n${text}\n<!-- /describe -->`)
  fs.writeFileSync(file, next)
}
