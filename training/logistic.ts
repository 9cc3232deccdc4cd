/** A logistic regression: the log-odds are `intercept + Σ weights[j] · x[j]`. */
export interface LogisticFit {
  weights: Float64Array
  intercept: number
}

/**
 * Rows to fit: `x` is row-major [n * width], `target` in [0, 1] (a label, or a smoothed one). `weight` is what one row
 * counts, as a share of an independent observation: it sets the rows against the prior.
 */
export interface LogisticRows {
  x: Float64Array
  width: number
  target: Float64Array
  weight: number
}

/** Independent normal prior of every weight; the intercept has none. `deviation` Infinity: no prior, no penalty. */
export interface Prior {
  mean: number
  deviation: number
}

/** Squared Newton decrement, per unit of row weight, below which the loss no longer changes in float64. */
const TOLERANCE = 1e-20

/** 1 / (1 + e^-x). */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

/** log(p / (1 - p)). */
export function logit(p: number): number {
  return Math.log(p / (1 - p))
}

/**
 * The most probable parameters: they minimise `weight · Σ logLoss + Σ (weights - mean)² / (2 · deviation²)`, which is L2
 * regularisation, by Newton's method with step halving (iteratively reweighted least squares, McCullagh & Nelder 1989).
 * The loss is convex and the order of every sum is fixed: the same rows give the same bits.
 *
 * @throws RangeError if the solution is not unique: a constant or repeated column without a prior.
 */
export function fitLogistic(rows: LogisticRows, prior: Prior): LogisticFit {
  const total = rows.weight * rows.target.length
  const scratch = newtonScratch(rows.width)
  let beta = new Float64Array(rows.width + 1).fill(prior.mean, 0, rows.width)
  for (;;) {
    const loss = newtonSystem(rows, prior, beta, scratch)
    const step = solveCholesky(scratch.hessian, scratch.gradient)
    const decrement = step.reduce((sum, value, j) => sum + value * scratch.gradient[j]!, 0)
    let size = 1
    let next = move(beta, step, size)
    while (penalisedLoss(rows, prior, next) > loss + total * 1e-12) next = move(beta, step, (size /= 2))
    beta = next
    if (decrement <= total * TOLERANCE) return { weights: beta.slice(0, -1), intercept: beta[rows.width]! }
  }
}

interface Newton {
  gradient: Float64Array
  /** Lower triangle, row-major [size * size]. */
  hessian: Float64Array
}

function newtonScratch(width: number): Newton {
  return { gradient: new Float64Array(width + 1), hessian: new Float64Array((width + 1) ** 2) }
}

function move(from: Float64Array, step: Float64Array, size: number): Float64Array<ArrayBuffer> {
  return Float64Array.from(from, (value, j) => value - size * step[j]!)
}

/** log(1 + e^m) - target · m, without overflow. */
function rowLoss(margin: number, target: number): number {
  return Math.max(margin, 0) + Math.log1p(Math.exp(-Math.abs(margin))) - target * margin
}

function marginOf(rows: LogisticRows, beta: Float64Array, row: number): number {
  let margin = beta[rows.width]!
  for (let j = 0, at = row * rows.width; j < rows.width; j++, at++) margin += rows.x[at]! * beta[j]!
  return margin
}

function penalty({ mean, deviation }: Prior, beta: Float64Array): number {
  let squares = 0
  for (let j = 0; j < beta.length - 1; j++) squares += ((beta[j]! - mean) / deviation) ** 2
  return squares / 2
}

function penalisedLoss(rows: LogisticRows, prior: Prior, beta: Float64Array): number {
  let loss = penalty(prior, beta)
  for (let i = 0; i < rows.target.length; i++) {
    loss += rows.weight * rowLoss(marginOf(rows, beta, i), rows.target[i]!)
  }
  return loss
}

/** Fills gradient and Hessian of the penalised loss at `beta`, returns the loss. */
function newtonSystem(rows: LogisticRows, prior: Prior, beta: Float64Array, { gradient, hessian }: Newton): number {
  const { x, width, target, weight } = rows
  const size = width + 1
  gradient.fill(0)
  hessian.fill(0)
  let loss = penalty(prior, beta)
  const row = new Float64Array(size).fill(1)
  for (let i = 0; i < target.length; i++) {
    const margin = marginOf(rows, beta, i)
    const p = sigmoid(margin)
    loss += weight * rowLoss(margin, target[i]!)
    row.set(x.subarray(i * width, (i + 1) * width))
    const slope = weight * (p - target[i]!)
    const curvature = weight * p * (1 - p)
    for (let j = 0; j < size; j++) {
      gradient[j]! += slope * row[j]!
      const scaled = curvature * row[j]!
      for (let k = 0; k <= j; k++) hessian[j * size + k]! += scaled * row[k]!
    }
  }
  for (let j = 0; j < width; j++) {
    gradient[j]! += (beta[j]! - prior.mean) / prior.deviation ** 2
    hessian[j * size + j]! += 1 / prior.deviation ** 2
  }
  return loss
}

/**
 * Solves `A · x = b` for a symmetric positive definite A, given as its lower triangle (row-major, overwritten).
 *
 * @throws RangeError if A is not positive definite.
 */
function solveCholesky(a: Float64Array, b: Float64Array): Float64Array {
  const n = b.length
  const x = Float64Array.from(b)
  for (let j = 0; j < n; j++) {
    const diagonal = a[j * n + j]!
    let pivot = diagonal
    for (let k = 0; k < j; k++) pivot -= a[j * n + k]! ** 2
    if (!(pivot > diagonal * 1e-13)) throw new RangeError(`logistic regression: column ${j} is constant or repeated`)
    const root = Math.sqrt(pivot)
    a[j * n + j] = root
    for (let i = j + 1; i < n; i++) {
      let value = a[i * n + j]!
      for (let k = 0; k < j; k++) value -= a[i * n + k]! * a[j * n + k]!
      a[i * n + j] = value / root
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= a[i * n + k]! * x[k]!
    x[i]! /= a[i * n + i]!
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= a[k * n + i]! * x[k]!
    x[i]! /= a[i * n + i]!
  }
  return x
}
