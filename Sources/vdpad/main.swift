import ArgumentParser

Vdpad.main()
