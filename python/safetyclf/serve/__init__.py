"""The moderation server: `safetyclf serve`, docs/serve.md.

settings     every option
refusals     errors that a client is told of
engines      a model and its policies, ready; requests of all connections in common batches
state        what one worker process has: settings, engines, keys, metrics, audit log
calls        one route: key, limits, errors, request id, log line
moderations  POST /v1/moderations, in the shape of OpenAI's
perspective  comments:analyze and comments:suggestscore, in the shape of the Perspective API
gateways     routes in the shapes of vLLM, TEI, KServe, FMS guardrails and LiteLLM
fields       typed fields of a JSON body, for these two
service      health, readiness, information, metrics, OpenAPI document
app          all routes as one Starlette application
protocol     timeouts and limits of connections
run          the server: worker processes, signals
"""
