/** The condition under which a panel of the workbench need not render again. */
import type { Workbench } from './useWorkbench'

/**
 * For `memo`: true while `parts` of the workbench are identical. A click changes the outputs and not the importances,
 * and rendering the heatmap and its lists again would cost more than the model's own pass. `parts` lists everything the
 * panel reads; `set` and the functions built on it are stable.
 */
export const unchanged =
  (parts: (bench: Workbench) => unknown[]) =>
  (was: { bench: Workbench }, now: { bench: Workbench }): boolean => {
    const [old, next] = [parts(was.bench), parts(now.bench)]
    return old.length === next.length && old.every((part, i) => Object.is(part, next[i]))
  }

/** The parts of a prompt that depend on its importances. */
export const importanceParts = (bench: Workbench): unknown[] =>
  bench.prompts.flatMap(({ name, index, importances, trust, effects, effectIndex }) => [
    name,
    index,
    importances.data,
    importances.stale,
    importances.pending,
    importances.error,
    trust.data,
    effectIndex,
    effects.pending,
    effects.error,
  ])
