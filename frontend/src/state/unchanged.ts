/** What lets a panel of the workbench be left as it is: nothing that it shows has changed. */
import type { Workbench } from './useWorkbench'

/**
 * For `memo`: true while `parts` of the workbench are the same things. A click changes the answers and not the
 * importances, and drawing the heatmap and its lists anew would cost more than the model's own pass. `parts` names
 * everything the panel reads; `set` and what is built on it never change what they do.
 */
export const unchanged =
  (parts: (bench: Workbench) => unknown[]) =>
  (was: { bench: Workbench }, now: { bench: Workbench }): boolean => {
    const [old, next] = [parts(was.bench), parts(now.bench)]
    return old.length === next.length && old.every((part, i) => Object.is(part, next[i]))
  }

/** What a prompt shows of its importances. */
export const importanceParts = (bench: Workbench): unknown[] =>
  bench.prompts.flatMap(({ name, index, importances }) => [
    name,
    index,
    importances.data,
    importances.stale,
    importances.pending,
    importances.error,
  ])
