"""Real kernels and real VMMs as front-ends of vhost-user back-ends. See README.md beside this folder."""
