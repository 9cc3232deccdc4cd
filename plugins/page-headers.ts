/** Headers that keep browsers from doing harm with our pages; to be registered in the scope that holds the pages. */
import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

const SELF = ["'self'"]

export interface PageHeadersOptions {
  /** Whether pages may have styles in their text. @default false */
  inlineStyles?: boolean
}

async function pageHeaders(fastify: FastifyInstance, { inlineStyles = false }: PageHeadersOptions): Promise<void> {
  await fastify.register(helmet, {
    // Pages load nothing from elsewhere.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: SELF,
        baseUri: SELF,
        formAction: SELF,
        frameAncestors: SELF,
        imgSrc: ["'self'", 'data:'],
        objectSrc: ["'none'"],
        styleSrc: inlineStyles ? ["'self'", "'unsafe-inline'"] : SELF
      }
    },
    // TLS is the business of the proxy in front.
    strictTransportSecurity: false
  })
}

export default fp(pageHeaders, { name: 'page-headers', fastify: '5.x' })
