/** Panels, notices, dialogs, popovers, and the states with nothing to show yet. */
import { Dialog as RDialog, Popover as RPopover } from 'radix-ui'
import { type ReactNode, useId, useState } from 'react'
import { sentenceOf } from '@/api/client'
import { Button } from './controls'
import { Icon } from './Icon'

export function Panel(props: {
  title: ReactNode
  aside?: ReactNode
  tools?: ReactNode
  className?: string
  children: ReactNode
}) {
  const id = useId()
  return (
    <section className={`panel ${props.className ?? ''}`} aria-labelledby={id}>
      <div className="panel-bar">
        <h2 id={id}>{props.title}</h2>
        {props.aside && <span className="aside">{props.aside}</span>}
        <span className="grow" />
        {props.tools}
      </div>
      {props.children}
    </section>
  )
}

export function Notice(props: {
  tone?: 'info' | 'error' | 'warn' | 'good'
  children: ReactNode
  actions?: ReactNode
  onDismiss?: () => void
}) {
  const tone = props.tone ?? 'info'
  return (
    <div className={`notice ${tone}`} role={tone === 'error' ? 'alert' : 'status'}>
      <span className="mark" aria-hidden="true">
        {tone === 'good' ? '✓' : tone === 'info' ? 'i' : '!'}
      </span>
      <div>
        {props.children}
        {props.actions && <div className="actions">{props.actions}</div>}
      </div>
      {props.onDismiss && (
        <Button kind="quiet" size="small" icon aria-label="Dismiss" onClick={props.onDismiss}>
          <Icon name="close" />
        </Button>
      )}
    </div>
  )
}

/** An error beside its cause. It stays until it is dismissed, retried, or replaced by another. */
export function ErrorNotice({
  error,
  onRetry,
  actions,
}: {
  error: unknown
  onRetry?: () => void
  actions?: ReactNode
}) {
  const [dismissed, setDismissed] = useState<unknown>(null)
  if (!error || dismissed === error) return null
  return (
    <Notice
      tone="error"
      onDismiss={() => setDismissed(error)}
      actions={
        (onRetry || actions) && (
          <>
            {onRetry && (
              <Button size="small" onClick={onRetry}>
                Try again
              </Button>
            )}
            {actions}
          </>
        )
      }
    >
      {sentenceOf(error)}
    </Notice>
  )
}

/** What was wrong with the address: shown until dismissed, though the address itself has been corrected. */
export function AddressProblems({ problems, onDismiss }: { problems: string[]; onDismiss: () => void }) {
  if (problems.length === 0) return null
  return (
    <Notice tone="warn" onDismiss={onDismiss}>
      {problems.map((problem) => (
        <div key={problem}>{problem}</div>
      ))}
    </Notice>
  )
}

export function Dialog(props: {
  open: boolean
  onOpenChange: (open: boolean) => void
  title: string
  description?: string
  children: ReactNode
}) {
  return (
    <RDialog.Root open={props.open} onOpenChange={props.onOpenChange}>
      <RDialog.Portal>
        <RDialog.Overlay className="overlay" />
        <RDialog.Content className="dialog" {...(props.description ? {} : { 'aria-describedby': undefined })}>
          <div className="dialog-head">
            <RDialog.Title asChild>
              <h2>{props.title}</h2>
            </RDialog.Title>
            <RDialog.Close asChild>
              <Button kind="quiet" icon aria-label="Close">
                <Icon name="close" />
              </Button>
            </RDialog.Close>
          </div>
          {props.description && (
            <RDialog.Description className="soft">{props.description}</RDialog.Description>
          )}
          {props.children}
        </RDialog.Content>
      </RDialog.Portal>
    </RDialog.Root>
  )
}

export function Popover({
  trigger,
  children,
  label,
}: {
  trigger: ReactNode
  children: ReactNode
  label: string
}) {
  return (
    <RPopover.Root>
      <RPopover.Trigger asChild>{trigger}</RPopover.Trigger>
      <RPopover.Portal>
        <RPopover.Content className="popover" sideOffset={6} collisionPadding={12} aria-label={label}>
          {children}
        </RPopover.Content>
      </RPopover.Portal>
    </RPopover.Root>
  )
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {children}
    </div>
  )
}

export function Skeleton({ height, label = 'Loading' }: { height: number; label?: string }) {
  return (
    <div role="status" className="skeleton" style={{ height }}>
      <span className="hidden-visually">{label}</span>
    </div>
  )
}

export function Progress({ value, label }: { value: number | null; label: string }) {
  const percent = value === null ? undefined : Math.round(value * 100)
  return (
    <div
      className={`progress ${value === null ? 'unknown' : ''}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <div style={{ width: `${percent ?? 30}%` }} />
    </div>
  )
}

/** Shows that numbers are being recomputed; its space is reserved so that nothing jumps. */
export function Recomputing({ on, what = 'Recomputing' }: { on: boolean; what?: string }) {
  return (
    <span role="status" aria-live="polite">
      {on && <span className="recomputing">{what}</span>}
    </span>
  )
}
