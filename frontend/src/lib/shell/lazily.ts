/** How long to wait before a part of the page whose connection broke is asked for again, in ms. */
const PATIENCE = [250, 1000];

/** What `load` imports; asked for again where the connection broke. */
export async function lazily<T>(load: () => Promise<T>): Promise<T> {
  for (const wait of PATIENCE) {
    try {
      return await load();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return load();
}
