// wait.mjs - waiting for a condition, with a deadline, never for a time.

export async function until(what, condition, { timeoutMs = 15000, everyMs = 20 } = {}) {
  const deadline = Date.now() + timeoutMs
  let last
  for (;;) {
    try {
      last = await condition()
      if (last) return last
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) {
      const seen = last instanceof Error ? last.message : JSON.stringify(last)
      throw new Error(`${what}: not within ${timeoutMs} ms (last: ${seen})`)
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
