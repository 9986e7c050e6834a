/** Controls: buttons, segments, switches, sliders, fields. Behaviour and roles come from Radix. */
import { Slider as RSlider, Switch as RSwitch, ToggleGroup } from 'radix-ui'
import { type ComponentProps, type ReactNode, useEffect, useId, useState } from 'react'
import type { Role } from '@/api/types'
import { useRefusal } from './role'

type ButtonProps = ComponentProps<'button'> & {
  kind?: 'primary' | 'plain' | 'quiet'
  size?: 'small'
  icon?: boolean
  /** The role it needs: whoever lacks it finds the button disabled, and why in its title. */
  needs?: Role
}

export function Button({ kind = 'plain', size, icon, needs, className, ...rest }: ButtonProps) {
  const refusal = useRefusal(needs)
  const classes = ['btn', kind, size, icon && 'icon', className].filter(Boolean).join(' ')
  return (
    <button
      type="button"
      className={classes}
      {...rest}
      disabled={rest.disabled || refusal !== undefined}
      title={refusal ?? rest.title}
    />
  )
}

export function Seg<T extends string>(props: {
  label: string
  value: T
  options: { value: T; label: ReactNode; disabled?: boolean }[]
  onChange: (value: T) => void
}) {
  return (
    <ToggleGroup.Root
      type="single"
      className="seg"
      aria-label={props.label}
      value={props.value}
      onValueChange={(value) => value && props.onChange(value as T)}
    >
      {props.options.map((option) => (
        <ToggleGroup.Item key={option.value} value={option.value} disabled={option.disabled}>
          {option.label}
        </ToggleGroup.Item>
      ))}
    </ToggleGroup.Root>
  )
}

export function Switch(props: {
  label: ReactNode
  checked: boolean
  onChange: (checked: boolean) => void
  name?: string
}) {
  const id = useId()
  return (
    <span className="check">
      <RSwitch.Root
        id={id}
        className="switch"
        checked={props.checked}
        onCheckedChange={props.onChange}
        aria-label={props.name}
      >
        <RSwitch.Thumb asChild>
          <span />
        </RSwitch.Thumb>
      </RSwitch.Root>
      <label htmlFor={id}>{props.label}</label>
    </span>
  )
}

export function Slider(props: {
  label: string
  value: number
  min?: number
  max?: number
  step?: number
  onChange: (value: number) => void
  onCommit?: (value: number) => void
}) {
  return (
    <RSlider.Root
      className="slider"
      value={[props.value]}
      min={props.min ?? 0}
      max={props.max ?? 1}
      step={props.step ?? 0.05}
      onValueChange={([value]) => value !== undefined && props.onChange(value)}
      onValueCommit={([value]) => value !== undefined && props.onCommit?.(value)}
    >
      <RSlider.Track className="track">
        <RSlider.Range className="range" />
      </RSlider.Track>
      <RSlider.Thumb className="thumb" aria-label={props.label} />
    </RSlider.Root>
  )
}

export function Field({
  label,
  hint,
  error,
  children,
}: {
  label: string
  hint?: ReactNode
  /** What is wrong with the input, shown below it until it is corrected. */
  error?: ReactNode
  children: (id: string, described: { 'aria-describedby'?: string; 'aria-invalid'?: true }) => ReactNode
}) {
  const id = useId()
  const errorId = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id, error ? { 'aria-describedby': errorId, 'aria-invalid': true } : {})}
      {error && (
        <span className="field-error" id={errorId} role="alert">
          {error}
        </span>
      )}
      {hint && <span className="hint">{hint}</span>}
    </div>
  )
}

/** Copies a text and confirms it. */
export function CopyButton({ text, children = 'Copy' }: { text: string; children?: ReactNode }) {
  const [message, setMessage] = useState<string | null>(null)
  useEffect(() => {
    if (!message) return
    const timer = setTimeout(() => setMessage(null), 2500)
    return () => clearTimeout(timer)
  }, [message])
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
      setMessage('Copied')
    } catch {
      setMessage('Select the link and copy it by hand')
    }
  }
  return (
    <Button onClick={copy}>
      <span aria-live="polite">{message ?? children}</span>
    </Button>
  )
}
