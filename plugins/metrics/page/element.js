/** Elements and the colours of the style sheet. */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{ [name: string]: string }} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

/** What a canvas understands: it knows neither custom properties nor `light-dark()`. */
const probe = document.body.appendChild(element('span', { hidden: '' }))

/** A colour of the style sheet, as the theme has it now. @param {string} name @param {number} [alpha] */
export function css(name, alpha = 1) {
  probe.style.color = `rgb(from var(${name}) r g b / ${alpha})`
  return getComputedStyle(probe).color
}
