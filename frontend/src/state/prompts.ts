/** A prompt in the address: its text as it is, or token ids; with or without BOS. */
import type { PromptBody } from '@/api/queries'
import type { Token } from '@/api/types'

export type PromptSpec =
  | { text: string; ids?: undefined; bos: boolean; plain?: boolean }
  | { text?: undefined; ids: number[]; bos: boolean; plain?: undefined }

export const MAX_PROMPTS = 8
const BOS = '^'
const IDS = '~'
const ESCAPE = '\\'
const PLAIN = `${ESCAPE}=`

/** `^` in front means BOS, `\\=` that control tokens such as <|endoftext|> are text, `~1.2.3` is token ids, and a backslash escapes a text that starts with one of these signs. */
export function encodePrompt(prompt: PromptSpec): string {
  const flag = prompt.bos ? BOS : ''
  if (prompt.ids) return `${flag}${IDS}${prompt.ids.join('.')}`
  const first = prompt.text[0]
  if (prompt.plain) return `${flag}${PLAIN}${prompt.text}`
  const special = first === BOS || first === IDS || first === ESCAPE
  return `${flag}${special ? ESCAPE : ''}${prompt.text}`
}

/** The prompt of a string, or null where its token ids are invalid. */
export function decodePrompt(code: string): PromptSpec | null {
  const bos = code.startsWith(BOS)
  const rest = bos ? code.slice(1) : code
  if (rest.startsWith(PLAIN)) return { text: rest.slice(2), bos, plain: true }
  if (rest.startsWith(ESCAPE)) return { text: rest.slice(1), bos }
  if (!rest.startsWith(IDS)) return { text: rest, bos }
  const ids = rest.slice(1).split('.')
  if (!ids.every((id) => /^\d{1,8}$/.test(id))) return null
  return { ids: ids.map(Number), bos }
}

export function promptBody(prompt: PromptSpec): PromptBody {
  const body: PromptBody = { bos: prompt.bos, plain_text: prompt.plain ?? false }
  return prompt.ids ? { ...body, token_ids: prompt.ids } : { ...body, text: prompt.text }
}

/** The text of a prompt, joined from its tokens where it was given as ids (a BOS in front left out). */
export function promptText(prompt: PromptSpec, tokens: Token[]): string {
  if (!prompt.ids) return prompt.text
  const own = prompt.bos ? tokens.slice(1) : tokens
  return joined(own.map((token) => token.piece))
}

/** Pieces as one text. A character that is spread over several tokens is whole again: <0xC3><0xA9> is é. */
export function joined(pieces: string[]): string {
  return pieces.join('').replace(/(?:<0x[0-9A-F]{2}>)+/g, (run) => {
    const bytes = run.match(/[0-9A-F]{2}(?=>)/g) ?? []
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(
        Uint8Array.from(bytes, (byte) => Number.parseInt(byte, 16)),
      )
    } catch {
      return run
    }
  })
}

/** A position, counted from the end when negative, clamped to the prompt. */
export function resolvePosition(at: number, length: number): number {
  if (length === 0) return 0
  const position = at < 0 ? length + at : at
  return Math.min(Math.max(position, 0), length - 1)
}
