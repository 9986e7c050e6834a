/** How far the decomposition describes each prompt: the word of its level, its figure, and both as facts of a file. */
import type { Trust } from '@/api/types'
import { nats } from '@/api/words'

export const TRUST_WORDS: Record<Trust['level'], { word: string; tone: string }> = {
  good: { word: 'described', tone: 'good' },
  partly: { word: 'partly described', tone: 'weak' },
  outside: { word: 'outside', tone: '' },
  not: { word: 'not described', tone: 'bad' },
}

/** `KL 0.041 of 27.7 nats, remainder off`: what the level was judged by. */
export function trustFigure(trust: Trust): string {
  if (trust.level === 'outside')
    return trust.fires === 0
      ? 'nothing fires'
      : `${trust.fires_per_position.toPrecision(2)} fire per position, KL ${nats(trust.kl_rest ?? 0)} nats, remainder on`
  const place = trust.counted === 'last' ? ' at the last position' : ''
  return `KL ${nats(trust.kl)} of ${nats(trust.kl_off)} nats${place}, remainder off`
}

/** The figure in two parts: what is shown beside a prompt, and the rest, for whoever cannot see the popover. */
export function trustParts(trust: Trust): [string, string] {
  const figure = trustFigure(trust)
  const at = figure.indexOf(' nats')
  return at < 0 ? [figure, ''] : [figure.slice(0, at + 5), figure.slice(at + 5)]
}

/** A line for each prompt whose figure is known, for the provenance of exported files. */
export function trustFacts(
  prompts: { name: string; trust: { data: Trust | undefined } }[],
): Record<string, string> {
  return Object.fromEntries(
    prompts.flatMap(({ name, trust: { data } }) =>
      data ? [[name, `${TRUST_WORDS[data.level].word}: ${trustFigure(data)}`]] : [],
    ),
  )
}
