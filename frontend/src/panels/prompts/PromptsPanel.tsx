/** The prompts, each with the model's output before and after the suppression. */
import { MAX_PROMPTS } from '@/state/prompts'
import type { Workbench } from '@/state/useWorkbench'
import { NewPrompt } from './NewPrompt'
import { PromptRow } from './PromptRow'

export function PromptsPanel({ bench }: { bench: Workbench }) {
  const specs = bench.prompts.map((prompt) => prompt.spec)
  const forget = (i: number) => ({
    n: Math.max(1, bench.active + 1 > i + 1 ? bench.active : bench.active + 1),
    at: specs.map((_, other) => bench.search.at?.[other] ?? -1).filter((_, other) => other !== i),
    ...(bench.active === i ? { row: undefined, col: undefined } : {}),
  })
  return (
    <section className="panel prompts" aria-label="Prompts">
      {bench.prompts.map((prompt, i) => (
        <PromptRow
          key={i}
          bench={bench}
          prompt={prompt}
          index={i}
          onChange={(spec, options) =>
            bench.setPrompts(
              specs.map((old, other) => (other === i ? spec : old)),
              options,
            )
          }
          onRemove={
            specs.length > 1
              ? () =>
                  bench.setPrompts(
                    specs.filter((_, other) => other !== i),
                    { patch: forget(i) },
                  )
              : undefined
          }
        />
      ))}
      {specs.length < MAX_PROMPTS && (
        <NewPrompt
          decomposition={bench.decomposition}
          bos={specs[0]?.bos ?? false}
          taken={bench.prompts.map((prompt) => prompt.text)}
          onAdd={(spec) =>
            bench.setPrompts([...specs, spec], {
              patch: { n: specs.length + 1, row: undefined, col: undefined },
            })
          }
        />
      )}
    </section>
  )
}
