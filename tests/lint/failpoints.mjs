// failpoints - every FAILPOINT("name") stands in the table of ops/failpoint.c, and every row is used.
import fs from 'node:fs'
import path from 'node:path'
import { files, isC, isTest, read } from './sources.mjs'

const table = 'libcommon/ops/failpoint.c'

export function check(root) {
  const findings = []
  const used = new Map()
  for (const name of files(root).filter((file) => isC(file) && !isTest(file) && file !== table && !file.endsWith('failpoint.h')))
    for (const found of read(root, name).matchAll(/FAILPOINT\("(\w+)"\)/g)) used.set(found[1], name)
  const known = new Set()
  if (fs.existsSync(path.join(root, table))) for (const found of read(root, table).matchAll(/\{\s*"(\w+)"\s*,/g)) known.add(found[1])
  for (const [point, name] of used) if (!known.has(point)) findings.push(`${name}: failpoint ${point} is not in ${table}`)
  for (const point of known) if (!used.has(point)) findings.push(`${table}: failpoint ${point} is used nowhere`)
  return findings
}

export const seed = { 'libcommon/core/seed.c': '/* SPDX-License-Identifier: Apache-2.0 */\nvoid f(void)\n{\n    if (FAILPOINT("nowhere"))\n        return;\n}\n' }
