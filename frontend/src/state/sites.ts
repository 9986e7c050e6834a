/** Sites of a model: patterns to modules and back, as `fnmatch` reads them on the server. */
import type { ModuleView } from '@/api/types'

export function patternMatches(pattern: string, path: string): boolean {
  return expression(pattern).test(path)
}

function expression(pattern: string): RegExp {
  let source = ''
  for (let at = 0; at < pattern.length; at += 1) {
    const sign = pattern[at] ?? ''
    const end = sign === '[' ? pattern.indexOf(']', at + 2) : -1
    if (sign === '*') source += '.*'
    else if (sign === '?') source += '.'
    else if (end > 0) {
      source += `[${pattern
        .slice(at + 1, end)
        .replace(/^!/, '^')
        .replaceAll('\\', '\\\\')}]`
      at = end
    } else source += sign.replace(/[.+^${}()|[\]\\]/g, '\\$&')
  }
  try {
    return new RegExp(`^${source}$`)
  } catch {
    return /^(?!)/ // such as a range that falls: it matches nothing there either
  }
}

export function matchedBy(patterns: string[], modules: ModuleView[]): ModuleView[] {
  const expressions = patterns.map(expression)
  return modules.filter((module) => expressions.some((one) => one.test(module.path)))
}

/** A path with the number of its layer left out: equal for the same module of every layer. */
export function familyOf(path: string): string {
  return path.replace(/\.\d+(?=\.)/, '.*')
}

export interface Family {
  name: string
  modules: ModuleView[]
}

/** The modules by family, in model order. */
export function families(modules: ModuleView[]): Family[] {
  const found = new Map<string, Family>()
  for (const module of modules) {
    const name = familyOf(module.path)
    const family = found.get(name) ?? { name, modules: [] }
    family.modules.push(module)
    found.set(name, family)
  }
  return [...found.values()]
}

/** The shortest patterns that match exactly the chosen modules, a family at a time. */
export function patternsFor(chosen: string[], modules: ModuleView[]): string[] {
  const wanted = new Set(chosen)
  return families(modules).flatMap((family) => {
    const own = family.modules.map((module) => module.path).filter((path) => wanted.has(path))
    if (own.length === 0) return []
    const candidates = [[family.name], ranges(family.name, own), own]
    return (
      candidates.find((patterns) => {
        const found = matchedBy(patterns, modules)
        return found.length === own.length && found.every((module) => wanted.has(module.path))
      }) ?? own
    )
  })
}

/** `model.layers.[3-5].mlp.up_proj`: a pattern for each run of layers; layers of two digits by themselves. */
function ranges(family: string, paths: string[]): string[] {
  const [before, after] = family.split('.*')
  if (before === undefined || after === undefined) return paths
  const layers = paths.map((path) => Number(path.slice(before.length + 1).split('.')[0]))
  const patterns: string[] = []
  for (let at = 0; at < layers.length; ) {
    const first = layers[at] ?? 0
    let last = first
    while (layers[at + 1] === last + 1 && last + 1 < 10) {
      at += 1
      last += 1
    }
    patterns.push(`${before}.${last > first ? `[${first}-${last}]` : first}${after}`)
    at += 1
  }
  return patterns
}

/** Where to begin: the matrices that write for the MLPs of the first layers, where facts are looked up. */
export function firstSites(modules: ModuleView[], width: number): string[] {
  const usable = modules.filter((module) => !module.refused)
  const writes = usable.filter((module) => /mlp|ffn|feed_forward|fc|dense/.test(module.path))
  const chosen = families(writes).find((family) => {
    const one = family.modules[0]
    return one !== undefined && one.d_out === width && one.d_in !== width
  })
  const family = chosen ?? families(usable).find((one) => one.modules.length > 1) ?? families(usable)[0]
  return patternsFor(
    (family?.modules ?? []).slice(0, 4).map((module) => module.path),
    modules,
  )
}
