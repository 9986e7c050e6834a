/** Input of a single token: the tokens of the text, and the tokens on screen that contain it. */
import { type keepPreviousData, useQueries } from '@tanstack/react-query'
import { useState } from 'react'
import { queries } from '@/api/queries'
import { visible } from '@/api/words'
import { useDebounced } from './hooks'

export interface TokenOffer {
  token: string
  /** Why it is suggested: `as typed`, `with its leading space`, `32.5 %`. */
  note: string
}

export interface TokenInputState {
  text: string
  setText: (text: string) => void
  offers: TokenOffer[]
  /** Why nothing matches, as a message. */
  problem: string | null
  busy: boolean
}

const MANY = 8

export function useTokenInput(id: string, inSight: TokenOffer[]): TokenInputState {
  const [text, setText] = useState('')
  const settled = useDebounced(text, 120)
  const variants = settled === '' ? [] : settled.startsWith(' ') ? [settled] : [` ${settled}`, settled]
  const asked = useQueries({
    queries: variants.map((one) => ({
      ...queries.tokens(id, one, false),
      placeholderData: undefined as unknown as typeof keepPreviousData,
    })),
  })
  const offers: TokenOffer[] = []
  const put = (offer: TokenOffer) => {
    if (!offers.some((other) => other.token === offer.token)) offers.push(offer)
  }
  const wanted = text.trim().toLowerCase()
  if (text === settled)
    variants.forEach((one, i) => {
      const tokens = asked[i]?.data?.tokens
      const [only] = tokens ?? []
      if (tokens?.length === 1 && only)
        put({ token: only.piece, note: one === text ? 'as typed' : 'with its leading space' })
    })
  for (const offer of inSight) if (offer.token.toLowerCase().includes(wanted)) put(offer)
  const pieces = asked.at(-1)?.data?.tokens.map((token) => visible(token.piece)) ?? []
  const busy = text !== settled || asked.some((query) => query.isPending)
  return {
    text,
    setText,
    offers: offers.slice(0, MANY),
    problem:
      text === '' || busy || offers.length > 0
        ? null
        : pieces.length > 1
          ? `“${visible(text)}” is ${pieces.length} tokens (${pieces.slice(0, 6).join(' · ')}); one is needed. Most words begin with a space.`
          : 'No such token.',
    busy,
  }
}
