const BASKETS = ['a', 'b'] as const
type Basket = (typeof BASKETS)[number]

/** Adds something to basket A or B, or removes it. `own`: an entry of its own; `within`: in the basket through a group. */
export function BasketButtons(props: {
  what: string
  own: (basket: Basket) => boolean
  within: (basket: Basket) => boolean
  onToggle: (basket: Basket) => void
}) {
  return (
    <span className="adds">
      {BASKETS.map((basket) => {
        const own = props.own(basket)
        const within = !own && props.within(basket)
        return (
          <button
            type="button"
            key={basket}
            className={`add ${basket} ${within ? 'within' : ''}`}
            aria-pressed={own}
            aria-label={`${own ? 'Remove' : 'Add'} ${props.what} ${own ? 'from' : 'to'} basket ${basket.toUpperCase()}${within ? ' (in it through a group)' : ''}`}
            onClick={() => props.onToggle(basket)}
          >
            {basket.toUpperCase()}
          </button>
        )
      })}
    </span>
  )
}
