import { tick } from 'svelte';

const PATIENCE = 5000; // ms

/**
 * Focuses what `find` answers once it is there: a part that has just been shown may load first. When
 * the keyboard has gone elsewhere meanwhile, it stays there.
 */
export async function focusWhenThere(find: () => HTMLElement | null | undefined): Promise<void> {
  const from = document.activeElement;
  const until = performance.now() + PATIENCE;
  await tick();
  for (;;) {
    if (document.activeElement !== from && document.activeElement !== document.body) return;
    const found = find();
    if (found) return found.focus();
    if (performance.now() > until) return;
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}
