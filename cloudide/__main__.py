from cloudide.cli import main

main()
