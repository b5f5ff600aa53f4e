// Waiting, but not for ever.

/** Waits for something, so many milliseconds at most. Rejects if it does in that time. */
export async function within(time: number, done: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise(resolve => {
    timer = setTimeout(resolve, time);
  });
  await Promise.race([done, late]).finally(() => clearTimeout(timer));
}
