"""What the chain needs on a cluster: data at a revision, the teacher on demand, promotion, roll-out, Kubeflow's API.

The steps know nothing of this package; the components and the command `polydistill pipeline` use it. It needs
`polydistill[cluster]`; each module imports only the client that it works with.
"""
