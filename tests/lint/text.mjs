// text - how a file looks: no tabs in C, no space at the end of a line, 110 columns, an SPDX line first,
// the brace of a function on its own line, a newline at the end.
import { files, isC, lines, read } from './sources.mjs'

export function check(root) {
  const findings = []
  for (const name of files(root).filter((file) => isC(file) || /\.(proto|sql|mjs|md|yaml|sh)$/.test(file))) {
    const text = read(root, name)
    if (text && !text.endsWith('\n')) findings.push(`${name}: no newline at the end`)
    if (isC(name) && !text.startsWith('/* SPDX-License-Identifier: ')) findings.push(`${name}:1: no SPDX line`)
    lines(text).forEach((line, index) => {
      const say = (what) => findings.push(`${name}:${index + 1}: ${what}`)
      if (/\s$/.test(line) && !name.endsWith('.md')) say('space at the end of the line')
      if (!isC(name)) return
      if (line.includes('\t')) say('a tab')
      if ([...line].length > 120) say(`${[...line].length} columns`)
      if (/^\w[^=;"]*\)\s*\{$/.test(line) && !/^(typedef|enum|struct|union|static const struct \w+ \w+\[)/.test(line)) say("a function's brace stands on its own line")
      if (/\b(TODO|FIXME|XXX|HACK)\b/.test(line)) say('something left unfinished')
    })
  }
  return findings
}

export const seed = { 'libcommon/core/seed.c': '/* SPDX-License-Identifier: Apache-2.0 */\nint f(void) {\n\treturn 1; \n}\n' }
