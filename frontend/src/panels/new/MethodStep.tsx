import { useQuery } from '@tanstack/react-query'
import { newRun } from '@/api/newRun'
import type { Recipe } from '@/api/types'
import { count } from '@/api/words'
import { type Config, kindOf, type Size, withValue } from '@/state/newRun'
import { Panel } from '@/ui/surfaces'
import { Fields } from './Fields'
import './new.css'

const SIZES: Record<Size, [string, string]> = {
  quick: ['Quick look', 'a quarter of the steps: whether the set-up makes sense'],
  good: ['Good', 'the steps of the shipped run of this kind'],
  thorough: ['Thorough', 'three times as many'],
}

/** How it is trained: a size, and everything else folded. */
export function MethodStep(props: {
  config: Config
  recipes: Recipe[]
  size: Size | null
  onSize: (size: Size) => void
  onConfig: (config: Config) => void
}) {
  const { config, recipes, onConfig } = props
  const schemas = useQuery(newRun.schemas())
  const kind = kindOf(config)
  return (
    <Panel title="4 · Method" aside={typeof config.steps === 'number' ? `${count(config.steps)} steps` : ''}>
      <div className="pad new-step">
        <fieldset className="sizes">
          <legend className="hidden-visually">Size</legend>
          {(Object.keys(SIZES) as Size[]).map((size) => {
            const recipe = recipes.find((one) => one.kind === kind && one.size === size)
            return (
              <label key={size} className="model-choice">
                <input
                  type="radio"
                  name="size"
                  checked={props.size === size}
                  onChange={() => props.onSize(size)}
                />
                <span>
                  <b>{SIZES[size][0]}</b>
                  <span className="small soft block">
                    {recipe && `${count(Number(recipe.config.steps))} steps; `}
                    {SIZES[size][1]}
                  </span>
                </span>
              </label>
            )
          })}
        </fieldset>
        <details>
          <summary>Every setting</summary>
          {schemas.data && (
            <Fields
              schemas={schemas.data}
              schema={schemas.data.DecomposeConfig ?? {}}
              value={config}
              path={[]}
              onChange={(path, value) => onConfig(withValue(config, path, value) as Config)}
            />
          )}
        </details>
      </div>
    </Panel>
  )
}
